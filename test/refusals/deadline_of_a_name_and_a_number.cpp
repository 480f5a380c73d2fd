// error: tocsin: a deadline takes a duration; say the unit: deadline here{200ms}
// SPDX-License-Identifier: MIT
// A number without a unit.
#include <tocsin/deadline.hpp>
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    deadline here{"loading", 200};
}
