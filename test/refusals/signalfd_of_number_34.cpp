// error: tocsin: this number is no signal; standard signals are 1 to 31, real-time ones are written rt<N>
// SPDX-License-Identifier: MIT
// A real-time signal by its number.
#include <tocsin/signalfd.hpp>

using namespace tocsin;

int main() {
    signal_descriptor<34> signals;
}
