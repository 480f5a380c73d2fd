// SPDX-License-Identifier: MIT
// A crash on a worker thread: the stacks of all threads, then the death that it would have been anyway.
#include <cstdio>
#include <thread>

#include <poll.h>

#include <tocsin/tocsin.hpp>

using namespace tocsin;

[[gnu::noinline]] void store(int* to) { *const_cast<int volatile*>(to) = 42; }

[[gnu::noinline]] void work(int* to) {
    std::puts("about to store where nothing is");
    std::fflush(stdout);
    store(to);
    std::puts("not reached");
}

int main() {
    guard signals{on_crash(dump_threads)};
    std::thread worker{[] {
        thread_guard here{"worker"};  // its own alternate stack: even an overflow is reported
        work(nullptr);
    }};
    worker.join();
}
