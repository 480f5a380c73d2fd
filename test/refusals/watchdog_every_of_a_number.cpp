// error: tocsin: every(d) takes a duration; say the unit: every(60s)
// SPDX-License-Identifier: MIT
// A number without a unit.
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    guard signals{watchdog(5s)(dump_threads).every(60)};
}
