// error: tocsin: this is not a reaction; wrap a callable in call(f), defer(f) or in_handler(f)
// SPDX-License-Identifier: MIT
// Where it should run has to be said.
#include <tocsin/guard.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGHUP>([] {})};
}
