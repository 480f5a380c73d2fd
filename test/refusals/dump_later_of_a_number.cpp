// error: tocsin: dump_later(d) takes a duration; say the unit: dump_later(5s)
// SPDX-License-Identifier: MIT
// A number without a unit.
#include <tocsin/dump_later.hpp>
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    dump_later(5);
}
