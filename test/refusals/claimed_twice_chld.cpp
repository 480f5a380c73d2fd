// error: tocsin: SIGCHLD is claimed by two rows; write on<SIGCHLD>(first, second)
// SPDX-License-Identifier: MIT
// Among other rows, and not next to each other.
#include <tocsin/call.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGCHLD>(wake), on<SIGHUP>(wake), on<SIGUSR1, SIGCHLD>(call([] {}))};
}
