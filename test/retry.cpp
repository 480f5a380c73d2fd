// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/defer.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/retry.hpp>

#include <poll.h>
#include <time.h>

#include <cerrno>
#include <chrono>
#include <limits>
#include <stdexcept>
#include <thread>

using namespace tocsin;
using namespace tocsin::test;
using namespace std::chrono_literals;

namespace {

using steady = std::chrono::steady_clock;

// What a system call looks like that is interrupted so many times.
struct interrupted_call {
    int times;
    int then;
    int code = 0;
    int calls = 0;

    int operator()() {
        ++calls;
        errno = times-- > 0 ? EINTR : code;
        return times >= 0 ? -1 : then;
    }
};

// A signal again and again, until somebody says that it is enough.
class storm {
  public:
    explicit storm(int number) : sender_{[this, number, to = ::pthread_self()] {
        while (enough_.load() == 0) {
            ::pthread_kill(to, number);
            ::usleep(1000);
        }
    }} {}
    ~storm() {
        enough_.store(1);
        sender_.join();
    }
    storm(storm const&) = delete;
    storm& operator=(storm const&) = delete;

  private:
    in_signal::atomic<int> enough_;
    std::thread sender_;
};

}  // namespace

TEST_CASE("what is interrupted is tried again, and everything else is handed on", "[retry]") {
    interrupted_call works{3, 7};
    CHECK(retry([&] { return works(); }) == 7);
    CHECK(works.calls == 4);

    interrupted_call fails{2, -1, EBADF};
    CHECK(retry([&] { return fails(); }) == -1);
    CHECK(errno == EBADF);
    CHECK(fails.calls == 3);
}

TEST_CASE("an answer that is no failure is handed on whatever errno says", "[retry]") {
    int calls = 0;
    CHECK(retry([&] {
              ++calls;
              errno = EINTR;
              return 0;
          }) == 0);
    CHECK(calls == 1);
}

TEST_CASE("the type of the answer stays", "[retry]") {
    static_assert(std::is_same_v<decltype(retry([] { return ssize_t{5}; })), ssize_t>);
    CHECK(retry([] { return ssize_t{5'000'000'000}; }) == 5'000'000'000);
}

TEST_CASE("deferred reactions run before each try, and what they throw leaves", "[retry]") {
    in_child([] {
        int ran = 0;
        guard signals{on<SIGUSR1>(defer([&] {
            if (++ran == 3) throw std::runtime_error{"enough"};
        }))};
        int calls = 0;
        bool thrown = false;
        try {
            retry(signals, [&] {
                require_in_child(ran == calls);
                ++calls;
                ::raise(SIGUSR1);
                errno = EINTR;
                return -1;
            });
        } catch (std::runtime_error const&) {
            thrown = true;
        }
        require_in_child(thrown && ran == 3 && calls == 3);
    });
}

TEST_CASE("what was pending before the first try does not wait for its end", "[retry]") {
    in_child([] {
        bool ran = false;
        guard signals{on<SIGUSR1>(defer([&] { ran = true; }))};
        ::raise(SIGUSR1);
        require_in_child(retry(signals, [&] { return ran ? 1 : 0; }) == 1);
    });
}

TEST_CASE("a deadline is not moved by signals, and at its end nothing is left", "[retry]") {
    in_child([] {
        guard signals{on<SIGUSR1>(in_handler([](delivery const&) noexcept {})).interrupting()};
        int tries = 0;
        auto const begin = steady::now();
        int got;
        {
            storm const interrupts{SIGUSR1};
            got = retry(60ms, [&](time_left left) {
                ++tries;
                require_in_child(left.count() >= 0 && left.count() <= 60'000'000);
                return ::poll(nullptr, 0, poll_timeout(left));
            });
        }
        auto const passed = steady::now() - begin;
        require_in_child(got == 0 && tries > 1);
        require_in_child(passed >= 60ms && passed < 10s);
    });
}

TEST_CASE("a point of time is a deadline too, with a guard or without", "[retry]") {
    bool const with_guard = GENERATE(false, true);
    in_child([with_guard] {
        guard signals{on<SIGUSR1>(defer([] {})).interrupting()};
        storm const interrupts{SIGUSR1};
        auto const until = steady::now() + 40ms;
        auto const wait = [](time_left left) { return ::poll(nullptr, 0, poll_timeout(left)); };
        require_in_child((with_guard ? retry(signals, until, wait) : retry(until, wait)) == 0);
        require_in_child(steady::now() >= until);
    });
}

TEST_CASE("a function that knows no time is not tried again after the deadline", "[retry]") {
    interrupted_call never{1'000'000'000, 0};
    CHECK(retry(steady::now() - 1s, [&] { return never(); }) == -1);
    CHECK(errno == ETIMEDOUT);
    CHECK(never.calls == 1);
    CHECK(retry(5ms, [&] { return never(); }) == -1);
    CHECK(errno == ETIMEDOUT);
}

TEST_CASE("after the deadline a function that knows the time is told once that nothing is left", "[retry]") {
    int calls = 0;
    CHECK(retry(0ms, [&](time_left left) {
              ++calls;
              CHECK(left.count() == 0);
              errno = EINTR;
              return -1;
          }) == -1);
    CHECK(errno == ETIMEDOUT);
    CHECK(calls == 1);
}

TEST_CASE("a deadline that is no length of time is refused", "[retry]") {
    auto const f = [] { return 0; };
    CHECK_THROWS_AS(retry(-1ms, f), error);
    CHECK_THROWS_AS(retry(std::chrono::duration<double>{std::numeric_limits<double>::quiet_NaN()}, f), error);
    CHECK_THROWS_AS(retry(std::chrono::hours{24 * 366 * 300}, f), error);
}

TEST_CASE("what is left is rounded up to milliseconds, and fits an int", "[retry]") {
    CHECK(poll_timeout(time_left{0}) == 0);
    CHECK(poll_timeout(time_left{-5}) == 0);
    CHECK(poll_timeout(time_left{1}) == 1);
    CHECK(poll_timeout(time_left{1'000'000}) == 1);
    CHECK(poll_timeout(time_left{1'000'001}) == 2);
    CHECK(poll_timeout(time_left{std::numeric_limits<std::int64_t>::max()}) == std::numeric_limits<int>::max());
}

TEST_CASE("which calls are never restarted is known when compiling", "[retry]") {
    static_assert(never_restarts("poll") && never_restarts("nanosleep") && never_restarts("epoll_wait"));
    static_assert(!never_restarts("read") && !never_restarts("close"));
    static_assert(interruption_of("recv") == interruption::fails_with_timeout);
    static_assert(interruption_of("close") == interruption::once);
    SUCCEED();
}

TEST_CASE("poll is interrupted though the row restarts, as the list says", "[retry]") {
    in_child([] {
        guard signals{on<SIGUSR1>(in_handler([](delivery const&) noexcept {}))};
        storm const interrupts{SIGUSR1};
        require_in_child(::poll(nullptr, 0, 20'000) == -1 && errno == EINTR);
        static_assert(never_restarts("poll"));
    });
}
