// error: tocsin: this reaction returns to the instruction that faults; use on_crash(dump_threads)
// SPDX-License-Identifier: MIT
// wake on a fault.
#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGBUS>(wake)};
}
