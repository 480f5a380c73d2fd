// error: tocsin: this number is no signal; standard signals are 1 to 31, real-time ones are written rt<N>
// SPDX-License-Identifier: MIT
// In block<…>.
#include <tocsin/block.hpp>

using namespace tocsin;

int main() {
    block<65> here;
}
