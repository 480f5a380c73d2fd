// error: tocsin: stop_requested() needs a row that stops; add on<SIGTERM>(request_stop)
// SPDX-License-Identifier: MIT
// It would always be false.
#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGHUP>(wake)};
    return signals.stop_requested();
}
