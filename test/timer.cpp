// SPDX-License-Identifier: MIT
#include <tocsin/timer.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using namespace std::chrono_literals;
using test::block_signal;
using test::child;
using test::in_child;
using test::require_in_child;
using test::until;
using test::wait_readable;

namespace {

using real = std::chrono::duration<double>;
using std::chrono::nanoseconds;
using steady = std::chrono::steady_clock;

// Accepts a blocked signal: within a time, and so 0 asks whether one is pending. False if there is none.
bool accept(int signal, siginfo_t& info, std::chrono::seconds deadline = 20s) {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, signal);
    timespec const wait{deadline.count(), 0};
    for (;;) {
        if (::sigtimedwait(&set, &info, &wait) == signal) return true;
        if (errno != EINTR) return false;
    }
}
bool accept(int signal) {
    siginfo_t info{};
    return accept(signal, info);
}
bool is_pending(int signal) {
    sigset_t set;
    ::sigpending(&set);
    return ::sigismember(&set, signal) == 1;
}

// Time is what these tests are about: nothing else will say that it has passed.
void let_pass(nanoseconds length) {
    auto const end = steady::now() + length;
    until([=] { return steady::now() >= end; });
}

// What a constructor or start() answers, as "call errno".
template <class F>
std::string refusal_of(F f) {
    try {
        f();
    } catch (error const& refused) {
        return std::string{refused.call()} + " " + std::to_string(refused.code());
    }
    return "none";
}
std::string invalid(std::string const& call) { return call + " " + std::to_string(EINVAL); }

std::string read_all(char const* path) {
    int const file = ::open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return "no such file";
    std::string text(4096, '\0');
    ssize_t const got = ::read(file, text.data(), text.size());
    ::close(file);
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return text;
}

}  // namespace

TEST_CASE("a timer sends its signal once, with its value", "[timer]") {
    in_child([] {
        block_signal(SIGUSR1);
        auto const start = steady::now();
        timer const once{SIGUSR1, 10ms, {.value = 42}};
        require_in_child(once && once.interval().count() == 0);
        siginfo_t info{};
        require_in_child(accept(SIGUSR1, info));
        require_in_child(steady::now() - start >= 10ms);
        require_in_child(info.si_code == SI_TIMER && info.si_value.sival_int == 42);
        require_in_child(once.left().count() == 0 && once.overrun() == 0);
    });
}

TEST_CASE("a timer's value may be a pointer, and its signal a real-time one", "[timer]") {
    in_child([] {
        block_signal(rt<3>);
        int here = 0;
        timer const once{rt<3>, 1ms, {.value = &here}};
        siginfo_t info{};
        require_in_child(accept(rt<3>, info));
        require_in_child(info.si_value.sival_ptr == &here);
    });
}

TEST_CASE("a periodic timer goes on, in step with its start", "[timer]") {
    in_child([] {
        block_signal(SIGUSR1);
        auto const start = steady::now();
        timer const ticks{SIGUSR1, 1ns, 5ms};
        require_in_child(nanoseconds{ticks.interval()} == 5ms);
        long expired = 0;
        while (expired <= 10) {
            siginfo_t info{};
            require_in_child(accept(SIGUSR1, info));
            expired += 1 + info.si_overrun;
        }
        require_in_child(steady::now() - start >= 50ms);
        require_in_child(ticks.left().count() > 0 && nanoseconds{ticks.left()} <= 5ms);
    });
}

TEST_CASE("expirations while the signal is pending are counted as overrun", "[timer]") {
    in_child([] {
        block_signal(SIGUSR1);
        timer const ticks{SIGUSR1, 1ms, 1ms};
        let_pass(30ms);
        siginfo_t info{};
        require_in_child(accept(SIGUSR1, info));
        require_in_child(info.si_overrun >= 20);
        require_in_child(ticks.overrun() == info.si_overrun);
    });
}

TEST_CASE("the overrun may be asked for in the handler", "[timer]") {
    in_child([] {
        static timer* running = nullptr;
        static volatile sig_atomic_t overrun = -1;
        auto const action = test::make_action([](int) {
            if (overrun < 0) overrun = running->overrun();
        });
        ::sigaction(SIGUSR1, &action, nullptr);
        block_signal(SIGUSR1);
        timer ticks{SIGUSR1, 1ms, 1ms};
        running = &ticks;
        let_pass(20ms);
        block_signal(SIGUSR1, SIG_UNBLOCK);
        require_in_child(overrun >= 10);
    });
}

TEST_CASE("a timer may be directed to a thread", "[timer]") {
    in_child([] {
        block_signal(SIGUSR1);
        block_signal(SIGUSR2);
        std::atomic<pid_t> thread{0};
        std::atomic<bool> sent{false};
        std::thread other{[&] {
            thread = ::gettid();
            until([&] { return is_pending(SIGUSR1); });
            sent = true;
            until([&] { return !sent; });
            siginfo_t info{};
            require_in_child(accept(SIGUSR1, info) && info.si_value.sival_int == 7);
        }};
        until([&] { return thread != 0; });
        timer const once{SIGUSR1, 1ms, {.value = 7, .thread = thread}};
        until([&] { return sent.load(); });
        require_in_child(!is_pending(SIGUSR1));  // nor for this thread, which has it blocked as well
        sent = false;
        other.join();

        require_in_child(refusal_of([&] {
                             timer const late{SIGUSR1, 1ms, {.thread = thread}};
                         }) == invalid("timer_create"));
        timer const own{SIGUSR2, 1ms, {.thread = ::gettid()}};
        require_in_child(accept(SIGUSR2));
    });
}

TEST_CASE("a timer is started again, stopped and asked what is left", "[timer]") {
    in_child([] {
        block_signal(SIGUSR1);
        timer again{SIGUSR1, 100s};
        require_in_child(nanoseconds{again.left()} > 80s && nanoseconds{again.left()} <= 100s);
        again.start(1ms);
        require_in_child(accept(SIGUSR1));
        again.start(200s, 3s);
        require_in_child(nanoseconds{again.left()} > 180s && nanoseconds{again.interval()} == 3s);
        again.stop();
        require_in_child(again.left().count() == 0);
        int code = -1;
        again.start(code, 300s);
        require_in_child(code == 0 && nanoseconds{again.left()} > 280s && again.interval().count() == 0);
        again.start(code, 0s, 1s);
        require_in_child(code == EINVAL && nanoseconds{again.left()} > 280s);
        require_in_child(refusal_of([&] { again.start(-1s); }) == invalid("timer(negative value)"));
        require_in_child(nanoseconds{again.left()} > 280s);
        require_in_child(!is_pending(SIGUSR1));
    });
}

TEST_CASE("lengths of timers are rounded up to nanoseconds, so that none disarms", "[timer]") {
    in_child([] {
        block_signal(SIGUSR1);
        timer ticks{SIGUSR1, 100s, std::chrono::duration<long, std::pico>{1}};
        require_in_child(ticks.interval() == time_left{1});
        ticks.start(100s, real{1e-300});
        require_in_child(ticks.interval() == time_left{1});
        ticks.start(nanoseconds::max());
        require_in_child(nanoseconds{ticks.left()} > 291 * 365 * 24h);
        ticks.start(real{1e-300});
        require_in_child(accept(SIGUSR1));
    });
}

TEST_CASE("a timer counts on the clock that is chosen", "[timer]") {
    in_child([] {
        block_signal(SIGUSR1);
        for (clockid_t const clock : {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME}) {
            timer const once{SIGUSR1, 1ms, {.clock = clock}};
            require_in_child(accept(SIGUSR1));
        }
        timer const computing{SIGUSR1, 5ms, {.clock = CLOCK_PROCESS_CPUTIME_ID}};
        until([] { return is_pending(SIGUSR1); });
    });
}

TEST_CASE("a timer refuses by name what is no length, signal, thread or clock", "[timer]") {
    in_child([] {
        using limits = std::numeric_limits<double>;
        auto const of = [](auto const&... arguments) {
            return refusal_of([&] { timer const refused{SIGUSR1, arguments...}; });
        };
        require_in_child(of(0s) == invalid("timer(value of zero)"));
        require_in_child(of(-1ns) == invalid("timer(negative value)"));
        require_in_child(of(real{limits::quiet_NaN()}) == invalid("timer(value not a number)"));
        require_in_child(of(real{limits::infinity()}) == invalid("timer(value over 292 years)"));
        require_in_child(of(std::chrono::hours::max()) == invalid("timer(value over 292 years)"));
        require_in_child(of(1s, -1ns) == invalid("timer(negative interval)"));
        require_in_child(of(1s, real{limits::quiet_NaN()}) == invalid("timer(interval not a number)"));
        require_in_child(of(1s, std::chrono::hours::max()) == invalid("timer(interval over 292 years)"));
        require_in_child(of(1s, timer_options{.thread = -1}) == invalid("timer_create"));
        require_in_child(of(1s, timer_options{.thread = 1}) ==
                         invalid("timer_create"));  // of another process
        require_in_child(of(1s, timer_options{.clock = 4711}) == invalid("timer_create"));
        for (int const signal : {0, -1, 65, 4711}) {
            auto const refusal = refusal_of([=] { timer const refused{signal, 1s}; });
            require_in_child(refusal == invalid("timer_create") || refusal == invalid("timer"));
        }
        require_in_child(refusal_of([] { timer const of_libc{32, 1s}; }) == invalid("timer"));
        int code = 0;
        timer empty{code, SIGUSR1, 0s};
        require_in_child(code == EINVAL && !empty && empty.left().count() == 0 && empty.overrun() == 0);
        empty.start(code, 1s);
        require_in_child(code == EINVAL && !empty);
        empty.stop();
        timer const good{code, SIGUSR1, 100s, 1s, {.value = 1}};
        require_in_child(code == 0 && good);
    });
}

TEST_CASE("a refused timer names its signal", "[timer]") {
    in_child([] {
        try {
            timer const refused{SIGUSR2, 1s, {.clock = 4711}};
        } catch (error const& e) {
            require_in_child(std::string{e.what()} == "tocsin: timer_create(SIGUSR2): Invalid argument");
            return 0;
        }
        return 1;
    });
}

TEST_CASE("where the queue of signals is full a timer is refused, and a descriptor is not", "[timer]") {
    in_child([] {
        rlimit const none{0, 0};
        require_in_child(::setrlimit(RLIMIT_SIGPENDING, &none) == 0);
        int code = 0;
        timer const refused{code, SIGUSR1, 1s};
        require_in_child(code == EAGAIN && !refused);
        timer_descriptor const ticks{1ms};
        wait_readable(ticks.fd());
    });
}

TEST_CASE("timers leave nothing behind", "[timer]") {
    in_child([] {
        unsigned const before = test::descriptors();
        for (int i = 0; i < 200; ++i) {
            timer const one{SIGUSR1, 100s};
            timer_descriptor const other{100s};
            int code = 0;
            timer_descriptor const refused{code, 0s};
            require_in_child(code == EINVAL && refused.fd() == -1);
        }
        require_in_child(test::descriptors() == before);
        std::string const left = read_all("/proc/self/timers");
        require_in_child(left == "no such file" || left.empty());
    });
}

TEST_CASE("a forked child has no timers, and destroying its copy leaves its own alone", "[timer]") {
    in_child([] {
        block_signal(SIGUSR1);
        block_signal(SIGUSR2);
        std::optional<timer> ticks;
        ticks.emplace(SIGUSR1, 100s, 1s);
        test::require_fork([&] {
            require_in_child(ticks->left().count() == 0);
            timer const own{SIGUSR2, 100s};  // with the number that the parent's has
            ticks->stop();
            ticks.reset();
            require_in_child(nanoseconds{own.left()} > 80s);
        });
        test::require_fork([&] {
            ticks->start(1ms);
            require_in_child(accept(SIGUSR1));
            ticks.reset();
        });
        require_in_child(nanoseconds{ticks->left()} > 80s && nanoseconds{ticks->interval()} == 1s);
    });
}

TEST_CASE("exec ends timers and closes descriptors of timers", "[timer]") {
    auto process = child::run([] {
        timer const ticks{SIGUSR1, 100s, 1s};
        timer_descriptor const descriptor{100s};
        std::string const before = read_all("/proc/self/timers");
        if (before == "no such file") return 0;
        require_in_child(!before.empty());
        std::string const link = "/proc/self/fd/" + std::to_string(descriptor.fd());
        ::execlp("sh", "sh", "-c", "cat /proc/$$/timers; test ! -e \"$0\"", link.c_str(), nullptr);
        return 1;
    });
    auto const result = process.wait();
    INFO(result.describe());
    CHECK(result.exited(0));
    CHECK(result.out.empty());
}

TEST_CASE("a timer's descriptor is readable when it expires, and counts", "[timer]") {
    timer_descriptor ticks{2ms, 2ms};
    CHECK(ticks);
    std::uint64_t expired = 0;
    while (expired < 5) {
        pollfd ready{ticks.fd(), POLLIN, 0};
        REQUIRE(::poll(&ready, 1, 20'000) == 1);
        expired += ticks.take();
    }
    CHECK(nanoseconds{ticks.interval()} == 2ms);
    ticks.start(1ms, 1ms);
    auto const end = steady::now() + 20ms;
    while (steady::now() < end) std::this_thread::yield();
    CHECK(ticks.take() >= 15);
}

TEST_CASE("a timer's descriptor never waits, is close-on-exec and closed at the end", "[timer]") {
    int fd = -1;
    {
        timer_descriptor ticks{100s};
        fd = ticks.fd();
        CHECK(ticks.take() == 0);
        CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
        CHECK((::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
        CHECK(nanoseconds{ticks.left()} > 80s);
        ticks.stop();
        CHECK(ticks.left().count() == 0);
    }
    CHECK(::fcntl(fd, F_GETFD) == -1);
}

TEST_CASE("a timer's descriptor refuses by name what is no length or clock", "[timer]") {
    using limits = std::numeric_limits<double>;
    auto const of = [](auto const&... arguments) {
        return refusal_of([&] { timer_descriptor const refused{arguments...}; });
    };
    CHECK(of(0s) == invalid("timer_descriptor(value of zero)"));
    CHECK(of(-1ns) == invalid("timer_descriptor(negative value)"));
    CHECK(of(real{limits::quiet_NaN()}) == invalid("timer_descriptor(value not a number)"));
    CHECK(of(std::chrono::hours::max()) == invalid("timer_descriptor(value over 292 years)"));
    CHECK(of(1s, -1ns) == invalid("timer_descriptor(negative interval)"));
    CHECK(of(1s, real{limits::quiet_NaN()}) == invalid("timer_descriptor(interval not a number)"));
    CHECK(of(1s, real{limits::infinity()}) == invalid("timer_descriptor(interval over 292 years)"));
    CHECK(of(1s, CLOCK_PROCESS_CPUTIME_ID) == invalid("timerfd_create"));
    CHECK(of(1s, 1s, 4711) == invalid("timerfd_create"));
    CHECK(of(1s, 1s, CLOCK_BOOTTIME) == "none");
    int code = 0;
    timer_descriptor empty{code, 1s, -1s};
    CHECK(code == EINVAL);
    CHECK_FALSE(empty);
    CHECK(empty.fd() == -1);
    CHECK(empty.take() == 0);
    CHECK(empty.left().count() == 0);
    empty.start(code, 1s);
    CHECK(code == EINVAL);
    timer_descriptor const good{code, 100s, 1s, CLOCK_REALTIME};
    CHECK(code == 0);
    CHECK(good);
}

TEST_CASE("where descriptors have run out a timer's descriptor says so", "[timer]") {
    in_child([] {
        rlimit const few{3, 3};
        require_in_child(::setrlimit(RLIMIT_NOFILE, &few) == 0);
        require_in_child(refusal_of([] { timer_descriptor const refused{1s}; }) ==
                         "timerfd_create " + std::to_string(EMFILE));
    });
}

TEST_CASE("a forked child's copy of a timer's descriptor takes nothing until it is started anew", "[timer]") {
    in_child([] {
        std::optional<timer_descriptor> ticks;
        ticks.emplace(1ms, 100s);
        wait_readable(ticks->fd());
        test::require_fork([&] {
            require_in_child(ticks->take() == 0 && ticks->left().count() == 0);
            ticks->stop();
            int const fd = ticks->fd();
            ticks->start(1ms, 1ms);
            require_in_child(ticks->fd() == fd && nanoseconds{ticks->interval()} == 1ms);
            require_in_child((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
            wait_readable(fd);
            require_in_child(ticks->take() >= 1);
        });
        test::require_fork([&] {
            ::close(ticks->fd());
            int code = -1;
            ticks->start(code, 1ms);
            require_in_child(code == 0);
            wait_readable(ticks->fd());
            ticks.reset();
        });
        test::require_fork([&] { ticks.reset(); });
        require_in_child(nanoseconds{ticks->interval()} == 100s);
        require_in_child(ticks->take() == 1);
    });
}

TEST_CASE("timers stay where they are and take only durations", "[timer]") {
    STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<timer>);
    STATIC_REQUIRE_FALSE(std::is_move_constructible_v<timer>);
    STATIC_REQUIRE_FALSE(std::is_constructible_v<timer, int, int>);
    STATIC_REQUIRE_FALSE(std::is_constructible_v<timer, int, double, double>);
    STATIC_REQUIRE(std::is_constructible_v<timer, int, std::chrono::minutes, real>);
    STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<timer_descriptor>);
    STATIC_REQUIRE_FALSE(std::is_move_constructible_v<timer_descriptor>);
    STATIC_REQUIRE_FALSE(std::is_constructible_v<timer_descriptor, int>);
    STATIC_REQUIRE(std::is_constructible_v<timer_descriptor, std::chrono::minutes, real, clockid_t>);
}
