// error: tocsin: a guard takes rows: on<SIG...>(reaction), on_crash(reaction), watchdog(d)(reaction)
// SPDX-License-Identifier: MIT
// The stage has not been told what to do.
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    guard signals{watchdog(5s)(dump_threads).then(30s)};
}
