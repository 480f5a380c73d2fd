// SPDX-License-Identifier: MIT
#include <tocsin/alarm_guard.hpp>

#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include <chrono>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using namespace std::chrono_literals;
using test::child;
using test::in_child;
using test::require_in_child;
using test::say;

namespace {

using real = std::chrono::duration<double>;
using std::chrono::microseconds;

microseconds of(timeval const& value) {
    return std::chrono::seconds{value.tv_sec} + microseconds{value.tv_usec};
}

microseconds alarm_left() {
    itimerval now{};
    ::getitimer(ITIMER_REAL, &now);
    return of(now.it_value);
}

void set_alarm(microseconds value, microseconds interval = 0us) {
    auto const native = [](microseconds length) {
        return timeval{length.count() / 1'000'000, length.count() % 1'000'000};
    };
    itimerval const wanted{native(interval), native(value)};
    ::setitimer(ITIMER_REAL, &wanted, nullptr);
}

// Time is what these tests are about: nothing else will say that it has passed.
void let_pass(microseconds length) {
    auto const end = std::chrono::steady_clock::now() + length;
    test::until([=] { return std::chrono::steady_clock::now() >= end; });
}

// The alarm that a guard finds and gives back must not end the child.
void ignore_alarm() { ::signal(SIGALRM, SIG_IGN); }

template <class D>
std::string refusal_of(D const& length) {
    try {
        alarm_guard const limit{length};
    } catch (error const& refused) {
        return refused.code() == EINVAL && refused.signal() == 0 ? refused.call() : "another error";
    }
    return "none";
}

}  // namespace

TEST_CASE("an alarm comes when its time has passed", "[alarm_guard]") {
    auto process = child::run([] {
        alarm_guard const limit{10ms};  // rounded up
        require_in_child(limit.left().count() > 0 && limit.left().count() <= 1'000'000'000);
        test::wait_for_parent();
    });
    auto const result = process.wait();
    INFO(result.describe());
    CHECK(result.killed_by(SIGALRM));
}

TEST_CASE("an alarm is in whole seconds, rounded up", "[alarm_guard]") {
    in_child([] {
        auto const armed = [](auto length) {
            alarm_guard const limit{length};
            microseconds const left = alarm_left();
            require_in_child(std::chrono::nanoseconds{limit.left()} <= left);
            return std::chrono::ceil<std::chrono::seconds>(left).count();
        };
        require_in_child(armed(1ns) == 1);
        require_in_child(armed(2s) == 2);
        require_in_child(armed(2001ms) == 3);
        require_in_child(armed(1h) == 3600);
        require_in_child(armed(real{1.5}) == 2);
        require_in_child(armed(real{1e-300}) == 1);
        require_in_child(armed(std::chrono::seconds{9'223'372'036}) >
                         9'000'000'000);  // no unsigned int in between
    });
}

TEST_CASE("without an alarm before there is none afterwards", "[alarm_guard]") {
    in_child([] {
        {
            alarm_guard const limit{100s};
            require_in_child(alarm_left() > 99s);
        }
        require_in_child(alarm_left() == 0us);
    });
}

TEST_CASE("the alarm that was there goes on with what it has left by then", "[alarm_guard]") {
    in_child([] {
        ::alarm(100);
        {
            alarm_guard const limit{10s};
            require_in_child(alarm_left() <= 10s);
            let_pass(50ms);
        }
        require_in_child(alarm_left() > 80s && alarm_left() <= 100s - 50ms);
    });
}

TEST_CASE("an alarm guard nests", "[alarm_guard]") {
    in_child([] {
        alarm_guard const outer{100s};
        {
            alarm_guard const inner{50s};
            {
                alarm_guard const innermost{200s};
                require_in_child(alarm_left() > 150s);
            }
            require_in_child(alarm_left() > 30s && alarm_left() <= 50s);
        }
        require_in_child(alarm_left() > 80s && alarm_left() <= 100s);
        require_in_child(std::chrono::nanoseconds{outer.left()} > 80s);
    });
}

TEST_CASE("an alarm that should have come meanwhile comes a second later", "[alarm_guard]") {
    in_child([] {
        ignore_alarm();
        set_alarm(20ms);
        {
            alarm_guard const limit{100s};
            let_pass(30ms);
        }
        require_in_child(alarm_left() > 100ms && alarm_left() <= 1s);
    });
}

TEST_CASE("a periodic timer that was there keeps its period", "[alarm_guard]") {
    in_child([] {
        ignore_alarm();
        set_alarm(5ms, 70s);
        {
            alarm_guard const limit{100s};
            let_pass(20ms);
        }
        require_in_child(alarm_left() > 50s && alarm_left() < 70s);
        itimerval now{};
        ::getitimer(ITIMER_REAL, &now);
        require_in_child(of(now.it_interval) == 70s);
    });
}

TEST_CASE("what is left of a timer after some time", "[alarm_guard]") {
    using posix::still_left;
    constexpr std::uint64_t second = 1'000'000;
    STATIC_REQUIRE(still_left(0, 0, 5) == 0);
    STATIC_REQUIRE(still_left(0, 7, 5) == 0);  // disarmed, whatever the interval says
    STATIC_REQUIRE(still_left(10, 0, 0) == 10);
    STATIC_REQUIRE(still_left(10, 0, 9) == 1);
    STATIC_REQUIRE(still_left(10, 0, 10) == second);
    STATIC_REQUIRE(still_left(10, 0, ~std::uint64_t{0}) == second);
    STATIC_REQUIRE(still_left(10, 3, 9) == 1);
    STATIC_REQUIRE(still_left(10, 3, 10) == 3);
    STATIC_REQUIRE(still_left(10, 3, 11) == 2);
    STATIC_REQUIRE(still_left(10, 3, 12) == 1);
    STATIC_REQUIRE(still_left(10, 3, 13) == 3);
    STATIC_REQUIRE(still_left(10, 1, 12345) == 1);
}

TEST_CASE("what is no length of time is refused by name, and the alarm that was there stays",
          "[alarm_guard]") {
    in_child([] {
        using limits = std::numeric_limits<double>;
        ::alarm(100);
        require_in_child(refusal_of(0s) == "alarm_guard(zero)");
        require_in_child(refusal_of(real{-0.0}) == "alarm_guard(zero)");
        require_in_child(refusal_of(-1s) == "alarm_guard(negative duration)");
        require_in_child(refusal_of(-1ns) == "alarm_guard(negative duration)");
        require_in_child(refusal_of(std::chrono::hours::min()) == "alarm_guard(negative duration)");
        require_in_child(refusal_of(real{-limits::infinity()}) == "alarm_guard(negative duration)");
        require_in_child(refusal_of(real{limits::quiet_NaN()}) == "alarm_guard(not a number)");
        require_in_child(refusal_of(real{limits::infinity()}) == "alarm_guard(over 292 years)");
        require_in_child(refusal_of(std::chrono::hours::max()) == "alarm_guard(over 292 years)");
        require_in_child(refusal_of(std::chrono::seconds{9'223'372'037}) == "alarm_guard(over 292 years)");
        require_in_child(alarm_left() > 80s);
    });
    CHECK(std::string{error{EINVAL, detail::alarm_words.negative, 0}.what()} ==
          "tocsin: alarm_guard(negative duration): Invalid argument");
}

TEST_CASE("an alarm guard reports into an error code instead", "[alarm_guard]") {
    in_child([] {
        int code = -1;
        {
            alarm_guard const limit{code, 100s};
            require_in_child(code == 0 && limit && alarm_left() > 80s);
        }
        ::alarm(50);
        {
            alarm_guard const limit{code, 0s};
            require_in_child(code == EINVAL && !limit && limit.left().count() == 0);
        }
        require_in_child(alarm_left() > 30s);
    });
}

TEST_CASE("an alarm guard's copy in a forked child does nothing, and the child has no alarm",
          "[alarm_guard]") {
    in_child([] {
        ::alarm(100);
        std::optional<alarm_guard> limit;
        limit.emplace(50s);
        test::require_fork([&] {
            require_in_child(alarm_left() == 0us && limit->left().count() == 0);
            limit.reset();
            require_in_child(alarm_left() == 0us);
        });
        test::require_fork([&] {
            ::alarm(200);  // the child's own
            limit.reset();
            require_in_child(alarm_left() > 150s);
        });
        require_in_child(alarm_left() > 30s && alarm_left() <= 50s);
    });
}

TEST_CASE("an alarm stays through exec", "[alarm_guard]") {
    auto process = child::run([] {
        alarm_guard const limit{2s};
        ::execlp("sh", "sh", "-c", "echo after; exec sleep 30", nullptr);
    });
    CHECK(process.expect_line("after"));
    auto const result = process.wait();
    INFO(result.describe());
    CHECK(result.killed_by(SIGALRM));
}

TEST_CASE("an alarm guard stays where it is and takes only durations", "[alarm_guard]") {
    STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<alarm_guard>);
    STATIC_REQUIRE_FALSE(std::is_move_constructible_v<alarm_guard>);
    STATIC_REQUIRE_FALSE(std::is_constructible_v<alarm_guard, int>);
    STATIC_REQUIRE_FALSE(std::is_convertible_v<std::chrono::seconds, alarm_guard>);
    STATIC_REQUIRE(std::is_constructible_v<alarm_guard, std::chrono::minutes>);
}
