// error: tocsin: watchdogs take a duration; say the unit: add(name, 30s)
// SPDX-License-Identifier: MIT
// A period without a unit.
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    watchdogs workers{3};
    auto one = workers.add("one", 30);
}
