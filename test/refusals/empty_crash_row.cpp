// error: tocsin: a row without a reaction does nothing; to ignore a signal, say ignore
// SPDX-License-Identifier: MIT
// The same under on_crash.
#include <tocsin/guard.hpp>

using namespace tocsin;

int main() {
    guard signals{on_crash()};
}
