// error: tocsin: feed() needs a watchdog; add watchdog(30s)(dump_threads)
// SPDX-License-Identifier: MIT
// Nobody is hungry.
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGHUP>(wake)};
    signals.feed();
}
