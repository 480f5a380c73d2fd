// error: tocsin: SIGKILL and SIGSTOP cannot be caught; take them out
// SPDX-License-Identifier: MIT
// SIGKILL is never blocked.
#include <tocsin/block.hpp>

using namespace tocsin;

int main() {
    unblock<SIGKILL> here;
}
