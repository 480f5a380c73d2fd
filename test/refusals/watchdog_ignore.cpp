// error: tocsin: a watchdog has no signal to chain, ignore or take the default of
// SPDX-License-Identifier: MIT
// ignore under watchdog.
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    guard signals{watchdog(1s)(ignore)};
}
