// error: tocsin: this number is no signal; standard signals are 1 to 31, real-time ones are written rt<N>
// SPDX-License-Identifier: MIT
// Behind the last.
#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    guard signals{on<65>(wake)};
}
