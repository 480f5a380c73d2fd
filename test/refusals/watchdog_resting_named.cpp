// error: tocsin: resting() is for watchdogs without a name, and every one of this guard has a name
// SPDX-License-Identifier: MIT
// Nothing is there to rest.
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    guard signals{watchdog<"render">(5s)(dump_threads)};
    auto idle = signals.resting();
}
