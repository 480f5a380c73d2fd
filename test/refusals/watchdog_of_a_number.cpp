// error: tocsin: watchdog(d) takes a duration; say the unit: watchdog(30s)
// SPDX-License-Identifier: MIT
// A number without a unit.
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    guard signals{watchdog(30)(dump_threads)};
}
