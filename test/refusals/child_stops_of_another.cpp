// error: tocsin: without_stops() is for on<SIGCHLD>(...), once
// SPDX-License-Identifier: MIT
// No child sends it.
#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGUSR1>(wake).without_stops()};
}
