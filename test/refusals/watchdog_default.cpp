// error: tocsin: a watchdog has no signal to chain, ignore or take the default of
// SPDX-License-Identifier: MIT
// default_disposition under watchdog.
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    guard signals{watchdog(1s)(dump_threads, default_disposition)};
}
