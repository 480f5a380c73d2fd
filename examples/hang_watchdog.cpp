// SPDX-License-Identifier: MIT
// Nobody feeds the watchdog for 200 ms: every thread's stack is shown, and the program goes on.
#include <cstdio>
#include <thread>

#include <tocsin/tocsin.hpp>

using namespace tocsin;

[[gnu::noinline]] void stuck_in_here() { std::this_thread::sleep_for(1s); }

int main() {
    guard signals{
        watchdog(200ms)(dump_threads, call([] { std::puts("the watchdog was not fed"); })),
    };
    for (int step = 0; step < 20; ++step) {
        std::this_thread::sleep_for(10ms);
        signals.feed();
    }
    std::puts("all was well so far");
    stuck_in_here();
    std::puts("went on");
}
