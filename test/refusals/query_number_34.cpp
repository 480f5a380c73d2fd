// error: tocsin: this number is no signal; standard signals are 1 to 31, real-time ones are written rt<N>
// SPDX-License-Identifier: MIT
// A real-time signal by its number, which differs between systems.
#include <tocsin/query.hpp>

using namespace tocsin;

int main() {
    return query<34>().signal();
}
