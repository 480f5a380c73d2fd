// SPDX-License-Identifier: MIT
// Ctrl-C and SIGTERM ask the program to stop; a second one ends it at once.
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <thread>

#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    guard signals{
        on<SIGINT, SIGTERM>(request_stop),
        on<SIGPIPE>(ignore),
    };
    std::jthread worker{[stop = signals.stop_token()] {
        std::mutex lock;
        std::condition_variable_any work;
        std::unique_lock held{lock};
        work.wait(held, stop, [] { return false; });  // woken by the stop alone
        std::puts("worker: finished what it had begun");
    }};
    std::puts("ready");
    std::fflush(stdout);
    worker.join();
    std::puts("stopped in good order");
}
