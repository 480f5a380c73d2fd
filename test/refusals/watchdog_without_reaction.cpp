// error: tocsin: a guard takes rows: on<SIG...>(reaction), on_crash(reaction), watchdog(d)(reaction)
// SPDX-License-Identifier: MIT
// The second pair of parentheses is missing.
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    guard signals{watchdog(30s)};
}
