// error: tocsin: a row without a reaction does nothing; to ignore a signal, say ignore
// SPDX-License-Identifier: MIT
// The same under watchdog.
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    guard signals{watchdog(1s)()};
}
