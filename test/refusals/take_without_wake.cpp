// error: tocsin: take() needs a row that wakes; add on<SIG...>(wake)
// SPDX-License-Identifier: MIT
// Nothing would ever be in it.
#include <tocsin/guard.hpp>
#include <tocsin/stop.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGTERM>(request_stop)};
    for (delivery const& d : signals.take()) return d.signal();
}
