// SPDX-License-Identifier: MIT
#include <version>

#if defined(__cpp_lib_jthread)

#include <tocsin/wait_stop.hpp>

#include <sys/resource.h>
#include <sys/time.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/refuse_call.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using namespace std::chrono_literals;
using test::in_child;
using test::require_in_child;

namespace {

using steady = std::chrono::steady_clock;

void ignore_often() {
    auto const action = test::make_action([](int) {});
    ::sigaction(SIGALRM, &action, nullptr);
    itimerval const ticks{{0, 1000}, {0, 1000}};
    ::setitimer(ITIMER_REAL, &ticks, nullptr);
}

}  // namespace

TEST_CASE("a stop ends a wait, and nothing is returned", "[wait_stop]") {
    in_child([] {
        test::block_signal(SIGUSR1);
        unsigned const before = test::descriptors();
        std::atomic<bool> some{true};
        std::jthread waiter{
            [&](std::stop_token token) { some = wait(signal_set{SIGUSR1}, token).has_value(); }};
        test::until([&] { return test::descriptors() == before + 2; });
        waiter.request_stop();
        waiter.join();
        require_in_child(!some && test::descriptors() == before);
    });
}

TEST_CASE("a stop that was requested before leaves pending signals alone", "[wait_stop]") {
    in_child([] {
        test::block_signal(SIGUSR1);
        ::raise(SIGUSR1);
        std::stop_source stop;
        stop.request_stop();
        require_in_child(!wait(signal_set{SIGUSR1}, stop.get_token()));
        require_in_child(!wait_for(signal_set{SIGUSR1}, stop.get_token(), 10s));
        require_in_child(wait_for(signal_set{SIGUSR1}, std::stop_token{}, 10s).has_value());
    });
}

TEST_CASE("a signal ends a wait with a token, with all that came along", "[wait_stop]") {
    in_child([] {
        test::block_signal(SIGRTMIN + 1);
        std::stop_source stop;
        test::queue_value(::getpid(), SIGRTMIN + 1, 42);
        auto const got = wait(signal_set{rt<1>}, stop.get_token());
        require_in_child(got && got->value() == 42 && got->code() == SI_QUEUE);
        std::thread sender{[] { test::queue_value(::getpid(), SIGRTMIN + 1, 43); }};
        auto const later = wait_until(signal_set{rt<1>}, stop.get_token(), steady::now() + 10s);
        require_in_child(later && later->value() == 43);
        sender.join();
    });
}

TEST_CASE("a deadline ends a wait with a token, whatever signals come", "[wait_stop]") {
    in_child([] {
        ignore_often();
        std::stop_source stop;
        auto const start = steady::now();
        require_in_child(!wait_for(signal_set{SIGUSR1}, stop.get_token(), 40ms));
        require_in_child(steady::now() - start >= 40ms && steady::now() - start < 10s);
        auto const point = steady::now() + 30ms;
        require_in_child(!wait_until(signal_set{SIGUSR1}, stop.get_token(), point));
        require_in_child(steady::now() >= point);
    });
}

TEST_CASE("several threads that wait share the signals, each taken once", "[wait_stop]") {
    in_child([] {
        constexpr int count = 300;
        test::block_signal(SIGRTMIN + 1);
        std::atomic<int> sum{0};
        std::atomic<int> taken{0};
        {
            std::jthread waiters[3];
            for (std::jthread& each : waiters) {
                each = std::jthread{[&](std::stop_token token) {
                    while (auto const got = wait(signal_set{rt<1>}, token)) {
                        sum += got->value();
                        ++taken;
                    }
                }};
            }
            for (int i = 1; i <= count; ++i) test::queue_value(::getpid(), SIGRTMIN + 1, i);
            test::until([&] { return taken == count; });
        }
        require_in_child(sum == count * (count + 1) / 2 && taken == count);
    });
}

TEST_CASE("what a wait with a token is refused for has a name, and nothing is left behind", "[wait_stop]") {
    in_child([] {
        auto const code_of = [](auto f) {
            try {
                f();
            } catch (error const& refused) {
                return refused.code();
            }
            return 0;
        };
        std::stop_source stop;
        require_in_child(code_of([&] { wait(signal_set{}, stop.get_token()); }) == EINVAL);
        require_in_child(code_of([&] { wait(signal_set{SIGKILL}, stop.get_token()); }) == EINVAL);
        require_in_child(code_of([&] { wait_for(signal_set{SIGUSR1}, stop.get_token(), -1s); }) == EINVAL);
        unsigned const before = test::descriptors();
        for (unsigned more = 0; more < 2; ++more) {
            rlimit const few{3 + more, 64};
            rlimit const many{64, 64};
            ::setrlimit(RLIMIT_NOFILE, &few);
            int const code = code_of([&] { wait_for(signal_set{SIGUSR1}, stop.get_token(), 1s); });
            ::setrlimit(RLIMIT_NOFILE, &many);
            require_in_child(code == EMFILE);
        }
        require_in_child(test::descriptors() == before);
    });
}

TEST_CASE("a call that a filter refuses is an error with its name, and nothing is left behind",
          "[wait_stop]") {
    struct {
        long number;
        std::string call;
    } const calls[] = {{SYS_signalfd4, "signalfd"},
                       {SYS_eventfd2, "eventfd"},
                       {SYS_ppoll, "ppoll"},
                       {SYS_rt_sigtimedwait, "sigtimedwait"}};
    for (auto const& each : calls) {
        in_child([&] {
            test::block_signal(SIGUSR1);
            ::raise(SIGUSR1);
            unsigned const before = test::descriptors();
            test::refuse_call(each.number, EPERM);
            std::stop_source stop;
            std::string said;
            try {
                wait(signal_set{SIGUSR1, SIGUSR2}, stop.get_token());
            } catch (error const& refused) {
                if (refused.code() == EPERM) said = refused.call();
            }
            require_in_child(said == each.call && test::descriptors() == before);
            require_in_child(!test::has_signal(test::status_mask(::getpid(), "SigBlk:"), SIGUSR2));
        });
    }
}

TEST_CASE("wait_handler ends by a handler, by a stop, or by the time", "[wait_stop]") {
    in_child([] {
        static volatile sig_atomic_t ran = 0;
        auto const action = test::make_action([](int) { ran = ran + 1; });
        ::sigaction(SIGUSR1, &action, nullptr);
        test::block_signal(SIGUSR1);
        std::stop_source stop;
        ::raise(SIGUSR1);
        require_in_child(wait_handler(signal_set{SIGUSR1}, stop.get_token()) && ran == 1);
        require_in_child(!wait_handler_for(signal_set{SIGUSR1}, stop.get_token(), 10ms) && ran == 1);
        auto const point = steady::now() + 10ms;
        require_in_child(!wait_handler_until(signal_set{SIGUSR1}, stop.get_token(), point) &&
                         steady::now() >= point);
        unsigned const before = test::descriptors();
        std::jthread stopper{[&] {
            test::until([&] { return test::descriptors() == before + 1; });
            stop.request_stop();
        }};
        require_in_child(!wait_handler(signal_set{SIGUSR1}, stop.get_token()) && ran == 1);
        stopper.join();
        require_in_child(test::descriptors() == before);
        require_in_child(!wait_handler(signal_set{SIGUSR1}, stop.get_token()));
    });
}

#endif
