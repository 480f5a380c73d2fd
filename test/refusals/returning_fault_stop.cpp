// error: tocsin: this reaction returns to the instruction that faults; use on_crash(dump_threads)
// SPDX-License-Identifier: MIT
// request_stop on a fault.
#include <tocsin/guard.hpp>
#include <tocsin/stop.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGILL>(request_stop)};
}
