// error: tocsin: this real-time signal does not exist; rt<0> to rt<30> lie between SIGRTMIN and SIGRTMAX
// SPDX-License-Identifier: MIT
// SIGRTMAX is SIGRTMIN + 30 in glibc.
#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    guard signals{on<rt<31>>(wake)};
}
