// error: tocsin: this number is no signal; standard signals are 1 to 31, real-time ones are written rt<N>
// SPDX-License-Identifier: MIT
// kill(2) has a meaning for it, sigaction(2) has none.
#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    guard signals{on<0>(wake)};
}
