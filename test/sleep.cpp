// SPDX-License-Identifier: MIT
#include <tocsin/sleep.hpp>

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <string>
#include <thread>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using namespace std::chrono_literals;
using test::child;
using test::in_child;
using test::require_in_child;

namespace {

using real = std::chrono::duration<double>;
using steady = std::chrono::steady_clock;
using wall = std::chrono::system_clock;

volatile sig_atomic_t arrivals = 0;

// Signals that interrupt whatever sleeps, every millisecond.
void interrupt_often(int flags) {
    auto const action = test::make_action([](int) { arrivals = arrivals + 1; }, flags);
    ::sigaction(SIGALRM, &action, nullptr);
    itimerval const ticks{{0, 1000}, {0, 1000}};
    ::setitimer(ITIMER_REAL, &ticks, nullptr);
}

// A clock of the program's: each look at it finds it some way on.
struct stepping {
    using rep = long;
    using period = std::milli;
    using duration = std::chrono::duration<rep, period>;
    using time_point = std::chrono::time_point<stepping>;

    static inline long at = 0;
    static inline long step = 0;
    static inline int looks = 0;

    static time_point now() {
        ++looks;
        at += step;
        return time_point{duration{at}};
    }
};

// The wall clock with another beginning.
struct since_2000 {
    using duration = wall::duration;
    using time_point = std::chrono::time_point<since_2000, duration>;

    static constexpr std::chrono::seconds beginning{946'684'800};
    static inline int looks = 0;

    static time_point now() {
        ++looks;
        return time_point{wall::now().time_since_epoch() - beginning};
    }
    static std::time_t to_time_t(time_point const& of) {
        return wall::to_time_t(wall::time_point{of.time_since_epoch() + beginning});
    }
};

template <class F>
std::string refusal_of(F f) {
    try {
        f();
    } catch (error const& refused) {
        return refused.code() == EINVAL ? refused.call() : "another error";
    }
    return "none";
}

}  // namespace

TEST_CASE("sleep_for sleeps as long as it was told, whatever signals come", "[sleep]") {
    in_child([] {
        for (int const flags : {0, SA_RESTART}) {
            arrivals = 0;
            interrupt_often(flags);
            auto const start = steady::now();
            sleep_for(60ms);
            auto const slept = steady::now() - start;
            require_in_child(slept >= 60ms && slept < 20s);
            require_in_child(arrivals >= 5);  // the handler runs meanwhile
        }
    });
}

TEST_CASE("sleep_until sleeps until the point has come, whatever signals come", "[sleep]") {
    in_child([] {
        interrupt_often(0);
        auto const point = steady::now() + 40ms;
        sleep_until(point);
        require_in_child(steady::now() >= point);
        auto const wall_point = wall::now() + 40ms;
        sleep_until(wall_point);
        require_in_child(wall::now() >= wall_point);
        auto const in_seconds = std::chrono::time_point_cast<real>(steady::now()) + real{0.02};
        sleep_until(in_seconds);
        require_in_child(steady::now() >= in_seconds);
        auto const file_point = std::chrono::file_clock::now() + 20ms;  // its beginning may lie in the future
        sleep_until(file_point);
        require_in_child(std::chrono::file_clock::now() >= file_point);
        require_in_child(arrivals >= 5);
    });
}

TEST_CASE("what has come already is not slept for", "[sleep]") {
    auto const start = steady::now();
    sleep_for(0s);
    sleep_for(real{0.0});
    sleep_until(start);
    sleep_until(start - 1h);
    sleep_until(steady::time_point{});
    sleep_until(wall::time_point{});
    sleep_until(wall::time_point{} - 1h);
    sleep_until(wall::now() - 1h);
    sleep_until(std::chrono::file_clock::now() - 1h);
    sleep_until(steady::time_point::min());
    CHECK(steady::now() - start < 10s);
}

TEST_CASE("a tiny sleep ends", "[sleep]") {
    auto const start = steady::now();
    sleep_for(1ns);
    sleep_for(real{1e-300});
    sleep_for(std::chrono::duration<long, std::atto>{1});
    CHECK(steady::now() - start < 10s);
}

TEST_CASE("sleep_until believes the point's own clock, which may run as it likes", "[sleep]") {
    stepping::at = 0;
    stepping::looks = 0;
    stepping::step = 3;  // slower than time, and behind it after the first sleep
    sleep_until(stepping::time_point{10ms});
    CHECK(stepping::at >= 10);
    CHECK(stepping::looks == 4);

    stepping::at = -20;  // before its beginning
    stepping::step = 5;
    sleep_until(stepping::time_point{-5ms});
    CHECK(stepping::at == -5);

    stepping::at = 100;
    stepping::step = 0;
    stepping::looks = 0;
    sleep_until(stepping::time_point{100ms});
    CHECK(stepping::looks == 1);
}

TEST_CASE("a wall clock with another beginning is slept for, not looked at again and again", "[sleep]") {
    auto const point = since_2000::now() + 20ms;
    since_2000::looks = 0;
    sleep_until(point);
    CHECK(since_2000::now() >= point);
    CHECK(since_2000::looks <= 10);
    CHECK_FALSE(detail::is_wall_clock<since_2000>());
    CHECK(detail::is_wall_clock<wall>());
    CHECK_FALSE(detail::is_wall_clock<steady>());
}

TEST_CASE("sleep refuses by name what is no length of time", "[sleep]") {
    using limits = std::numeric_limits<double>;
    auto const length = [](auto of) { return refusal_of([=] { sleep_for(of); }); };
    CHECK(length(-1ns) == "sleep_for(negative duration)");
    CHECK(length(std::chrono::hours::min()) == "sleep_for(negative duration)");
    CHECK(length(real{-limits::infinity()}) == "sleep_for(negative duration)");
    CHECK(length(real{limits::quiet_NaN()}) == "sleep_for(not a number)");
    CHECK(length(real{limits::infinity()}) == "sleep_for(over 292 years)");
    CHECK(length(std::chrono::hours::max()) == "sleep_for(over 292 years)");

    auto const point = [](auto of) { return refusal_of([=] { sleep_until(of); }); };
    using real_point = std::chrono::time_point<steady, real>;
    CHECK(point(real_point{real{limits::quiet_NaN()}}) == "sleep_until(not a number)");
    CHECK(point(real_point{real{limits::infinity()}}) ==
          "sleep_until(over 292 years from the clock's beginning)");
    CHECK(point(std::chrono::time_point<wall, std::chrono::hours>::max()) ==
          "sleep_until(over 292 years from the clock's beginning)");
}

TEST_CASE("sleep reports into an error code instead", "[sleep]") {
    int code = -1;
    sleep_for(code, 1ms);
    CHECK(code == 0);
    sleep_for(code, -1ms);
    CHECK(code == EINVAL);
    sleep_until(code, steady::now() + 1ms);
    CHECK(code == 0);
    sleep_until(code, std::chrono::time_point<wall, std::chrono::hours>::max());
    CHECK(code == EINVAL);
}

TEST_CASE("the longest sleep sleeps, and may be cancelled", "[sleep]") {
    for (int const kind : {0, 1, 2, 3}) {
        std::atomic<bool> begun{false};
        std::thread sleeper{[&] {
            begun = true;
            if (kind == 0) sleep_for(std::chrono::nanoseconds::max());
            if (kind == 1) sleep_until(steady::time_point::max());
            if (kind == 2) sleep_until(wall::time_point::max());
            if (kind == 3) sleep_until(std::chrono::file_clock::time_point::max());
            std::abort();
        }};
        while (!begun) std::this_thread::yield();
        CHECK(::pthread_cancel(sleeper.native_handle()) == 0);
        sleeper.join();
    }
}
