// error: tocsin: no watchdog of this guard has this name; feed one by the name that its row has
// SPDX-License-Identifier: MIT
// A misspelt name.
#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    guard signals{watchdog<"render">(5s)(dump_threads)};
    signals.feed<"renderer">();
}
