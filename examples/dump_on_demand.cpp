// SPDX-License-Identifier: MIT
// kill -QUIT shows where every thread is; the program goes on as if nothing had been.
#include <cstdio>
#include <thread>

#include <poll.h>
#include <unistd.h>

#include <tocsin/tocsin.hpp>

using namespace tocsin;

[[gnu::noinline]] void wait_for_customers() { poll(nullptr, 0, -1); }

int main() {
    guard signals{on<SIGQUIT>(dump_threads), on<SIGTERM>(exit_with(0))};
    std::thread{[] {
        thread_guard here{"clerk"};
        std::printf("ready, try: kill -QUIT %d\n", getpid());
        std::fflush(stdout);
        wait_for_customers();
    }}.detach();
    for (;;) wait_for_customers();  // poll() ends with EINTR in the thread that takes a signal
}
