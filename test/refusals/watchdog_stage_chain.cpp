// error: tocsin: a watchdog has no signal to chain, ignore or take the default of
// SPDX-License-Identifier: MIT
// chain in a later stage.
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    guard signals{watchdog(5s)(dump_threads).then(30s)(chain)};
}
