// error: tocsin: a row without a reaction does nothing; to ignore a signal, say ignore
// SPDX-License-Identifier: MIT
// No reaction.
#include <tocsin/guard.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGHUP>()};
}
