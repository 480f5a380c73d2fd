// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>

#include <cerrno>
#include <cfenv>
#include <cmath>
#include <thread>

using namespace tocsin;
using namespace tocsin::test;

namespace {
volatile sig_atomic_t ran;
}

TEST_CASE("in_handler gets the whole delivery on the interrupted thread", "[in_handler]") {
    in_child([] {
        static pid_t sender;
        static int value;
        static pid_t on_thread;
        static bool has_context;
        guard signals{on<SIGUSR1>(in_handler([](delivery const& d) noexcept {
            sender = d.pid();
            value = d.value();
            has_context = d.context() != nullptr;
            on_thread = static_cast<pid_t>(in_signal::gettid());
            ran = d.signal();
        }))};
        block_signal(SIGUSR1);
        std::thread other{[] {
            block_signal(SIGUSR1, SIG_UNBLOCK);
            queue_value(::getpid(), SIGUSR1, 77);
            until([] { return ran != 0; });
            require_in_child(on_thread == ::gettid());
        }};
        other.join();
        require_in_child(ran == SIGUSR1 && value == 77 && sender == ::getpid() && has_context);
    });
}

TEST_CASE("in_handler may capture values and keeps state of its own", "[in_handler]") {
    in_child([] {
        int count = 0;
        guard signals{on<SIGUSR1>(in_handler([&count, step = 2](delivery const&) mutable noexcept {
            count += step;
            step = 3;
        }))};
        ::raise(SIGUSR1);
        ::raise(SIGUSR1);
        require_in_child(count == 5);
    });
}

TEST_CASE("errno is what it was, whatever the handler does", "[in_handler]") {
    in_child([] {
        guard signals{on<SIGUSR1>(in_handler([](delivery const&) noexcept {
            errno = ENOSPC;
            ran = 1;
        }))};
        errno = E2BIG;
        ::raise(SIGUSR1);
        require_in_child(errno == E2BIG && ran == 1);
    });
}

TEST_CASE("the rounding mode and pending floating-point exceptions are what they were", "[in_handler]") {
    in_child([] {
        guard signals{on<SIGUSR1>(in_handler([](delivery const&) noexcept {
            std::fesetround(FE_UPWARD);
            std::feraiseexcept(FE_DIVBYZERO);
            ran = 1;
        }))};
        std::fesetround(FE_DOWNWARD);
        std::feclearexcept(FE_ALL_EXCEPT);
        ::raise(SIGUSR1);
        require_in_child(ran == 1);
        require_in_child(std::fegetround() == FE_DOWNWARD);
        require_in_child(std::fetestexcept(FE_DIVBYZERO) == 0);
    });
}

TEST_CASE("a handler is not interrupted by other signals", "[in_handler]") {
    in_child([] {
        static volatile sig_atomic_t nested = -1;
        guard signals{on<SIGUSR1>(in_handler([](delivery const&) noexcept {
                          ::raise(SIGUSR2);
                          nested = ran;
                      })),
                      on<SIGUSR2>(in_handler([](delivery const&) noexcept { ran = 1; }))};
        ::raise(SIGUSR1);
        require_in_child(nested == 0);
        require_in_child(ran == 1);
    });
}
