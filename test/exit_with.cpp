// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/exit_with.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/wake.hpp>

#include <sys/mman.h>

using namespace tocsin;
using namespace tocsin::test;

TEST_CASE("exit_with ends the process with its code, without destructors and exit functions", "[exit_with]") {
    auto process = child::run([] {
        struct noisy {
            ~noisy() { say("destroyed"); }
        } const here;
        std::atexit([] { say("atexit"); });
        guard signals{on<SIGTERM>(exit_with(42))};
        ::raise(SIGTERM);
        say("never");
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.exited(42));
    CHECK(result.out.empty());
}

TEST_CASE("exit_with comes after the handler's other reactions", "[exit_with]") {
    auto process = child::run([] {
        guard signals{on<SIGTERM>(
            exit_with(7), in_handler([](delivery const&) noexcept { in_signal::write(1, "handler\n", 8); }))};
        ::raise(SIGTERM);
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.exited(7));
    CHECK(result.out == "handler\n");
}

TEST_CASE("exit_with ends all threads, whichever the signal met", "[exit_with]") {
    auto process = child::run([] {
        guard signals{on<SIGUSR1>(exit_with(5))};
        block_signal(SIGUSR1);
        pthread_t other;
        ::pthread_create(&other, nullptr, [](void*) -> void* {
            block_signal(SIGUSR1, SIG_UNBLOCK);
            for (;;) ::pause();
        }, nullptr);
        ::kill(::getpid(), SIGUSR1);
        for (;;) ::pause();
    });
    CHECK(process.wait().exited(5));
}

TEST_CASE("exit_with on a crash gives the code instead of the signal", "[exit_with]") {
    auto process = child::run([] {
        guard signals{on_crash<SIGSEGV>(exit_with(9))};
        auto* const page = static_cast<int volatile*>(
            ::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        *page = 1;
    });
    CHECK(process.wait().exited(9));
}
