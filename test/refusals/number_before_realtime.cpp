// error: tocsin: this real-time signal does not exist; rt<0> to rt<30> lie between SIGRTMIN and SIGRTMAX
// SPDX-License-Identifier: MIT
// What lies before is kept by libc.
#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    guard signals{on<rt<-1>>(wake)};
}
