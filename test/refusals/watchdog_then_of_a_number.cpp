// error: tocsin: then(d) takes a duration; say the unit: then(30s)
// SPDX-License-Identifier: MIT
// A number without a unit.
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    guard signals{watchdog(5s)(dump_threads).then(30)(exit_with(1))};
}
