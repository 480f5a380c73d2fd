// error: tocsin: this number is no signal; standard signals are 1 to 31, real-time ones are written rt<N>
// SPDX-License-Identifier: MIT
// As functions of libc answer it.
#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    guard signals{on<-1>(wake)};
}
