// error: tocsin: a watchdog has no signal to chain, ignore or take the default of
// SPDX-License-Identifier: MIT
// What follows a refused stage adds nothing to the message.
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    guard signals{watchdog(5s)(ignore).then(30s)(dump_threads).every(60s)};
}
