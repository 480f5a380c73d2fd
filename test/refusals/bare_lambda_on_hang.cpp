// error: tocsin: this is not a reaction; wrap a callable in call(f), defer(f) or in_handler(f)
// SPDX-License-Identifier: MIT
// The same under watchdog.
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    guard signals{watchdog(1s)([] {})};
}
