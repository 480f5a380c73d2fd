// error: tocsin: every watchdog of this guard has a name; feed each by its name
// SPDX-License-Identifier: MIT
// feed() is for those without a name.
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    guard signals{watchdog<"render">(5s)(dump_threads)};
    signals.feed();
}
