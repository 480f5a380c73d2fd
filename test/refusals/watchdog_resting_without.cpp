// error: tocsin: resting() needs a watchdog; add watchdog(30s)(dump_threads)
// SPDX-License-Identifier: MIT
// Nothing is there to rest.
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGTERM>(wake)};
    auto idle = signals.resting();
}
