// error: tocsin: fd() needs a row that wakes; add on<SIG...>(wake)
// SPDX-License-Identifier: MIT
// Nothing would make it readable.
#include <tocsin/call.hpp>
#include <tocsin/guard.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGHUP>(call([] {}))};
    return signals.fd();
}
