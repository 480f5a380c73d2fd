// error: tocsin: a fault signal cannot be deferred, returning from its handler faults again; use on_crash
// SPDX-License-Identifier: MIT
// call(f) on a fault.
#include <tocsin/call.hpp>
#include <tocsin/guard.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGSEGV>(call([] {}))};
}
