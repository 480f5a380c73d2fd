// error: tocsin: SIGKILL and SIGSTOP cannot be caught; take them out
// SPDX-License-Identifier: MIT
// In block<…>.
#include <tocsin/block.hpp>

using namespace tocsin;

int main() {
    block<SIGKILL> here;
}
