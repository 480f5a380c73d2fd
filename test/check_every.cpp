// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/check_every.hpp>
#include <tocsin/defer.hpp>
#include <tocsin/guard.hpp>

#include <chrono>
#include <limits>

using namespace tocsin;
using namespace tocsin::test;
using namespace std::chrono_literals;

TEST_CASE("the first signal is not put off, the next ones are until the interval is over", "[check_every]") {
    in_child([] {
        unsigned long ran = 0;
        guard signals{on<SIGUSR1>(defer([&](delivery const& d) { ran += d.merged(); }))};
        check_every here{signals, std::chrono::hours{1}};
        require_in_child(here() == 0);
        ::raise(SIGUSR1);
        require_in_child(here() == 1 && ran == 1);
        for (int i = 0; i < 5; ++i) {
            ::raise(SIGUSR1);
            require_in_child(here() == 0 && ran == 1 && signals.pending());
        }
        require_in_child(here.now() == 1 && ran == 6 && !signals.pending());
        require_in_child(here.now() == 0);
    });
}

TEST_CASE("what was put off runs when the interval is over", "[check_every]") {
    in_child([] {
        using steady = std::chrono::steady_clock;
        int ran = 0;
        guard signals{on<SIGUSR1>(defer([&] { ++ran; }))};
        check_every here{signals, 20ms};
        ::raise(SIGUSR1);
        here();
        auto const first = steady::now();
        ::raise(SIGUSR1);
        until([&] {
            here();
            return ran == 2;
        });
        // the interval began before `first` was taken
        require_in_child(steady::now() - first > 10ms);
    });
}

TEST_CASE("an interval of nothing puts nothing off", "[check_every]") {
    in_child([] {
        int ran = 0;
        guard signals{on<SIGUSR1>(defer([&] { ++ran; }))};
        check_every here{signals, 0ms};
        for (int i = 1; i <= 3; ++i) {
            ::raise(SIGUSR1);
            require_in_child(here() == 1 && ran == i);
        }
    });
}

TEST_CASE("an exception leaves it, and the interval has begun", "[check_every]") {
    in_child([] {
        guard signals{on<SIGUSR1>(defer([] { throw 5; })), on<SIGUSR2>(defer([] {}))};
        check_every here{signals, std::chrono::hours{1}};
        ::raise(SIGUSR1);
        ::raise(SIGUSR2);
        int caught = 0;
        try {
            here();
        } catch (int number) {
            caught = number;
        }
        require_in_child(caught == 5 && here() == 0 && here.now() == 1);
    });
}

TEST_CASE("an interval that is no length of time is refused", "[check_every]") {
    in_child([] {
        guard signals{on<SIGUSR1>(defer([] {}))};
        auto const refused = [&](auto interval) {
            try {
                check_every here{signals, interval};
            } catch (error const& e) {
                return e.code() == EINVAL;
            }
            return false;
        };
        require_in_child(refused(-1ms));
        require_in_child(refused(std::chrono::duration<double>{std::numeric_limits<double>::quiet_NaN()}));
    });
}
