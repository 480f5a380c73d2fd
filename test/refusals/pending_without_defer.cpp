// error: tocsin: pending() needs a deferred row; add on<SIG...>(defer(f))
// SPDX-License-Identifier: MIT
// It would always be false.
#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGHUP>(wake)};
    return signals.pending();
}
