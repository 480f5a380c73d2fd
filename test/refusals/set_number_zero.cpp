// error: tocsin: this number is no signal; standard signals are 1 to 31, real-time ones are written rt<N>
// SPDX-License-Identifier: MIT
// Number 0.
#include <tocsin/signal_set.hpp>

using namespace tocsin;

int main() {
    return set_of<0>().empty();
}
