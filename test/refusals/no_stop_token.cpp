// error: tocsin: this standard library has no <stop_token>; ask stop_requested() instead
// SPDX-License-Identifier: MIT
// With a standard library that has none.
#include <tocsin/guard.hpp>
#include <tocsin/stop.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGTERM>(request_stop)};
    return signals.stop_token().stop_requested();
}
