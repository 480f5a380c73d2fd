// error: tocsin: a guard takes rows: on<SIG...>(reaction), on_crash(reaction), watchdog(d)(reaction)
// SPDX-License-Identifier: MIT
// A reaction is not a row.
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    guard signals{wake};
}
