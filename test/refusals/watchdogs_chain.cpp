// error: tocsin: a watchdog has no signal to chain, ignore or take the default of
// SPDX-License-Identifier: MIT
// chain under a table of watchdogs.
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    watchdogs workers{3};
    guard signals{watchdog(workers)(dump_threads, chain)};
}
