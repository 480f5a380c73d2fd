// error: tocsin: this number is no signal; standard signals are 1 to 31, real-time ones are written rt<N>
// SPDX-License-Identifier: MIT
// A real-time signal by its number, which differs between systems.
#include <tocsin/signal_set.hpp>

using namespace tocsin;

int main() {
    return set_of<SIGTERM, 34>().empty();
}
