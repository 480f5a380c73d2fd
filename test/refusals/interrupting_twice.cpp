// error: tocsin: this row interrupts system calls already; say interrupting() once
// SPDX-License-Identifier: MIT
// Said twice.
#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGHUP>(wake).interrupting().interrupting()};
}
