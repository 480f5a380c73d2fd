// error: tocsin: SIGKILL and SIGSTOP cannot be caught; take them out
// SPDX-License-Identifier: MIT
// In on<…>.
#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGSTOP>(wake)};
}
