// SPDX-License-Identifier: MIT
#include <tocsin/interval_timer.hpp>

#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include <chrono>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>

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
using std::chrono::microseconds;
using std::chrono::nanoseconds;

volatile sig_atomic_t arrivals = 0;
void count(int) { arrivals = arrivals + 1; }

timeval native(microseconds length) { return {length.count() / 1'000'000, length.count() % 1'000'000}; }

struct setting {
    microseconds value;
    microseconds interval;
};

setting now(int which) {
    itimerval found{};
    ::getitimer(which, &found);
    auto const of = [](timeval const& time) {
        return std::chrono::seconds{time.tv_sec} + microseconds{time.tv_usec};
    };
    return {of(found.it_value), of(found.it_interval)};
}

void set(int which, microseconds value, microseconds interval = 0us) {
    itimerval const wanted{native(interval), native(value)};
    ::setitimer(which, &wanted, nullptr);
}

// Computes until `what` holds, which lets all three timers count. In user space for the most part: asking a steady
// clock is no system call.
template <class What>
void compute_until(What what) {
    auto const end = std::chrono::steady_clock::now() + test::patience;
    while (!what()) require_in_child(std::chrono::steady_clock::now() < end);
}

template <int Which>
void comes_once_and_again(int signal) {
    auto const action = test::make_action(&count);
    ::sigaction(signal, &action, nullptr);
    arrivals = 0;
    {
        interval_timer<Which> const once{2ms};
        require_in_child(once.interval().count() == 0);
        compute_until([] { return arrivals == 1; });
        require_in_child(once.left().count() == 0);
    }
    arrivals = 0;
    {
        interval_timer<Which> const again{1us, 1ms};
        require_in_child(nanoseconds{again.interval()} == 1ms);
        compute_until([] { return arrivals >= 5; });
        require_in_child(now(Which).interval == 1ms);
    }
    require_in_child(now(Which).value == 0us && now(Which).interval == 0us);
}

template <int Which>
void gives_back() {
    set(Which, 100s, 3s);
    {
        interval_timer<Which> const own{50s, 7s};
        require_in_child(now(Which).value > 40s && now(Which).value < 51s && now(Which).interval == 7s);
        auto const begin = now(Which).value;  // by its own clock: user time alone is not what a process can ask for
        compute_until([=] { return begin - now(Which).value >= 100ms; });
    }
    // what CPU timers count is in ticks, and one is added when they are set (kernel/time/itimer.c, set_cpu_itimer)
    require_in_child(now(Which).value > 50s && now(Which).interval == 3s);
    require_in_child(now(Which).value <= (Which == ITIMER_REAL ? 100s - 100ms : 100s - 70ms));
}

template <class... D>
std::string refusal_of(D const&... lengths) {
    try {
        interval_timer<ITIMER_REAL> const timer{lengths...};
    } catch (error const& refused) {
        return refused.code() == EINVAL && refused.signal() == 0 ? refused.call() : "another error";
    }
    return "none";
}

}  // namespace

TEST_CASE("each of the three timers sends its signal once, or again and again", "[interval_timer]") {
    in_child([] { comes_once_and_again<ITIMER_REAL>(SIGALRM); });
    in_child([] { comes_once_and_again<ITIMER_VIRTUAL>(SIGVTALRM); });
    in_child([] { comes_once_and_again<ITIMER_PROF>(SIGPROF); });
}

TEST_CASE("a timer that was there goes on where it would be by then", "[interval_timer]") {
    in_child([] { gives_back<ITIMER_REAL>(); });
    in_child([] { gives_back<ITIMER_VIRTUAL>(); });
    in_child([] { gives_back<ITIMER_PROF>(); });
}

TEST_CASE("a periodic timer that was there stays in step", "[interval_timer]") {
    in_child([] {
        ::signal(SIGALRM, SIG_IGN);
        auto const start = std::chrono::steady_clock::now();
        set(ITIMER_REAL, 30ms, 100s);
        {
            interval_timer<ITIMER_REAL> const own{50s};
            compute_until([=] { return std::chrono::steady_clock::now() > start + 40ms; });
        }
        auto const next = now(ITIMER_REAL);
        auto const due = std::chrono::steady_clock::now() + next.value - start;
        require_in_child(next.interval == 100s && due >= 100s + 29ms && due < 100s + 5s);
    });
}

TEST_CASE("a timer that should have come once meanwhile comes a second later", "[interval_timer]") {
    in_child([] {
        ::signal(SIGALRM, SIG_IGN);
        auto const end = std::chrono::steady_clock::now() + 10ms;
        set(ITIMER_REAL, 5ms);
        {
            interval_timer<ITIMER_REAL> const own{50s};
            compute_until([=] { return std::chrono::steady_clock::now() > end; });
        }
        require_in_child(now(ITIMER_REAL).value > 100ms && now(ITIMER_REAL).value <= 1s);
    });
}

TEST_CASE("lengths are rounded up to microseconds, so that none disarms", "[interval_timer]") {
    in_child([] {
        auto const armed = [](auto value, auto interval) {
            interval_timer<ITIMER_REAL> const timer{value, interval};
            return now(ITIMER_REAL);
        };
        require_in_child(armed(100s, 1ns).interval == 1us);
        require_in_child(armed(100s, 1001ns).interval == 2us);
        require_in_child(armed(100s, real{1e-300}).interval == 1us);
        require_in_child(armed(100s, real{0.1}).interval == 100ms);
        require_in_child(armed(100s, 0s).interval == 0us);
        require_in_child(armed(100s, 1h).interval == 1h);
        require_in_child(armed(std::chrono::microseconds{9'223'372'036'854'775}, 0s).value > 290h * 24 * 365);
    });
    auto process = child::run([] {
        interval_timer<ITIMER_REAL> const tiny{1ns};
        test::wait_for_parent();
    });
    CHECK(process.wait().killed_by(SIGALRM));
}

TEST_CASE("interval timers nest and do not know the other sorts", "[interval_timer]") {
    in_child([] {
        interval_timer<ITIMER_REAL> const outer{100s, 1s};
        interval_timer<ITIMER_PROF> const other{70s};
        {
            interval_timer<ITIMER_REAL> const inner{50s};
            require_in_child(now(ITIMER_REAL).value <= 50s);
            require_in_child(now(ITIMER_PROF).value > 60s);
            require_in_child(nanoseconds{other.left()} > 60s);
        }
        require_in_child(now(ITIMER_REAL).value > 80s && now(ITIMER_REAL).interval == 1s);
        require_in_child(now(ITIMER_VIRTUAL).value == 0us);
    });
}

TEST_CASE("an interval timer refuses by name what is no length of time, and changes nothing",
          "[interval_timer]") {
    in_child([] {
        using limits = std::numeric_limits<double>;
        set(ITIMER_REAL, 100s, 7s);
        require_in_child(refusal_of(0s) == "interval_timer(value of zero)");
        require_in_child(refusal_of(0s, 1s) == "interval_timer(value of zero)");
        require_in_child(refusal_of(-1us) == "interval_timer(negative value)");
        require_in_child(refusal_of(real{limits::quiet_NaN()}) == "interval_timer(value not a number)");
        require_in_child(refusal_of(real{limits::infinity()}) == "interval_timer(value over 292 years)");
        require_in_child(refusal_of(std::chrono::hours::max()) == "interval_timer(value over 292 years)");
        require_in_child(refusal_of(1s, -1us) == "interval_timer(negative interval)");
        require_in_child(refusal_of(1s, real{limits::quiet_NaN()}) ==
                         "interval_timer(interval not a number)");
        require_in_child(refusal_of(1s, real{limits::infinity()}) ==
                         "interval_timer(interval over 292 years)");
        require_in_child(refusal_of(1s, std::chrono::hours::max()) ==
                         "interval_timer(interval over 292 years)");
        require_in_child(refusal_of(-1s, -1s) == "interval_timer(negative value)");
        require_in_child(now(ITIMER_REAL).value > 80s && now(ITIMER_REAL).interval == 7s);
    });
}

TEST_CASE("an interval timer reports into an error code instead", "[interval_timer]") {
    in_child([] {
        int code = -1;
        {
            interval_timer<ITIMER_REAL> const good{code, 100s};
            require_in_child(code == 0 && good && now(ITIMER_REAL).value > 80s);
        }
        code = -1;
        {
            interval_timer<ITIMER_REAL> const good{code, 100s, 1s};
            require_in_child(code == 0 && good && now(ITIMER_REAL).interval == 1s);
        }
        interval_timer<ITIMER_REAL> const no_value{code, 0s};
        require_in_child(code == EINVAL && !no_value && no_value.left().count() == 0);
        code = 0;
        interval_timer<ITIMER_REAL> const no_interval{code, 1s, -1s};
        require_in_child(code == EINVAL && !no_interval);
        require_in_child(now(ITIMER_REAL).value == 0us);
    });
}

TEST_CASE("an interval timer's copy in a forked child does nothing, and the child has none",
          "[interval_timer]") {
    in_child([] {
        set(ITIMER_REAL, 200s);
        std::optional<interval_timer<ITIMER_REAL>> own;
        own.emplace(100s, 1s);
        test::require_fork([&] {
            require_in_child(now(ITIMER_REAL).value == 0us && own->left().count() == 0);
            own.reset();
            require_in_child(now(ITIMER_REAL).value == 0us);
        });
        require_in_child(now(ITIMER_REAL).value > 80s && now(ITIMER_REAL).value <= 100s);
    });
}

TEST_CASE("an interval timer stays through exec", "[interval_timer]") {
    auto process = child::run([] {
        interval_timer<ITIMER_REAL> const own{2s};
        ::execlp("sh", "sh", "-c", "echo after; exec sleep 30", nullptr);
    });
    CHECK(process.expect_line("after"));
    CHECK(process.wait().killed_by(SIGALRM));
}

TEST_CASE("an interval timer stays where it is and takes only durations", "[interval_timer]") {
    using ticks = interval_timer<ITIMER_REAL>;
    STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<ticks>);
    STATIC_REQUIRE_FALSE(std::is_move_constructible_v<ticks>);
    STATIC_REQUIRE_FALSE(std::is_constructible_v<ticks, int>);
    STATIC_REQUIRE_FALSE(std::is_constructible_v<ticks, double, double>);
    STATIC_REQUIRE(std::is_constructible_v<ticks, std::chrono::minutes, real>);
}
