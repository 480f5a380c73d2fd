// error: tocsin: check() needs a deferred row; add on<SIG...>(defer(f))
// SPDX-License-Identifier: MIT
// There is nothing to run.
#include <tocsin/call.hpp>
#include <tocsin/guard.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGHUP>(call([] {}))};
    signals.check();
}
