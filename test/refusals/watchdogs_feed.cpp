// error: tocsin: every watchdog of this guard has a name; feed each by its name
// SPDX-License-Identifier: MIT
// The members of a table are fed by their handles.
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    watchdogs workers{3};
    guard signals{watchdog(workers)(dump_threads)};
    signals.feed();
}
