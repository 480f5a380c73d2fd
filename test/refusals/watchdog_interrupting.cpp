// error: tocsin: a watchdog interrupts no system call; interrupting() is for on<SIG...>
// SPDX-License-Identifier: MIT
// There is no signal.
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    guard signals{watchdog(1s)(wake).interrupting()};
}
