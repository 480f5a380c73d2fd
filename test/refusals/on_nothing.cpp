// error: tocsin: no signal is named here; name one or more between < and >
// SPDX-License-Identifier: MIT
// No signal.
#include <tocsin/guard.hpp>
#include <tocsin/stop.hpp>

using namespace tocsin;

int main() {
    guard signals{on<>(request_stop)};
}
