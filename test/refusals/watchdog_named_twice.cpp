// error: tocsin: two watchdogs of this guard have one name; give each a name of its own
// SPDX-License-Identifier: MIT
// Which of the two would feed<"render">() be for?
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    guard signals{watchdog<"render">(5s)(dump_threads), watchdog<"render">(9s)(wake)};
}
