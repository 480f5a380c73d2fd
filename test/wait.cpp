// SPDX-License-Identifier: MIT
#include <tocsin/wait.hpp>

#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <limits>
#include <optional>
#include <string>
#include <thread>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/refuse_call.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using namespace std::chrono_literals;
using test::child;
using test::in_child;
using test::require_in_child;

namespace {

using steady = std::chrono::steady_clock;

volatile sig_atomic_t arrivals = 0;

void count(int signal, int flags = 0) {
    auto const action = test::make_action([](int) { arrivals = arrivals + 1; }, flags);
    ::sigaction(signal, &action, nullptr);
}

// SIGALRM every millisecond, with a handler.
void interrupt_often() {
    count(SIGALRM);
    itimerval const ticks{{0, 1000}, {0, 1000}};
    ::setitimer(ITIMER_REAL, &ticks, nullptr);
}

struct refusal {
    int code = 0;
    int signal = -1;
    std::string call{};
};
template <class F>
refusal refusal_of(F f) {
    try {
        f();
    } catch (error const& refused) {
        return {refused.code(), refused.signal(), refused.call()};
    }
    return {};
}

bool is_blocked(int signal) {
    sigset_t now;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
    return ::sigismember(&now, signal) == 1;
}

// Whether the main thread sleeps in sigtimedwait.
bool main_thread_waits() {
    std::string const path = "/proc/self/task/" + std::to_string(::getpid()) + "/syscall";
    std::FILE* const file = std::fopen(path.c_str(), "r");
    long number = -1;
    bool const read = file != nullptr && std::fscanf(file, "%ld", &number) == 1;
    if (file != nullptr) std::fclose(file);
    return read && number == SYS_rt_sigtimedwait;
}

// A clock that somebody sets while others wait for a point of it.
struct jumping {
    using rep = long long;
    using period = std::nano;
    using duration = std::chrono::nanoseconds;
    using time_point = std::chrono::time_point<jumping>;

    static inline std::atomic<bool> jumped{false};
    static time_point now() { return time_point{jumped ? duration{1h} : duration{0}}; }
};

}  // namespace

TEST_CASE("a wait takes a pending signal, and no handler runs", "[wait]") {
    in_child([] {
        count(SIGUSR1);
        test::block_signal(SIGUSR1);
        ::kill(::getpid(), SIGUSR1);
        waited_signal const got = wait(signal_set{SIGUSR1, SIGUSR2});
        require_in_child(got.signal() == SIGUSR1 && got.code() == SI_USER);
        require_in_child(got.pid() == ::getpid() && got.uid() == ::getuid());
        require_in_child(!wait_for(signal_set{SIGUSR1}, 0s));
        require_in_child(arrivals == 0 && is_blocked(SIGUSR1));
    });
}

TEST_CASE("a wait brings what was sent along", "[wait]") {
    in_child([] {
        test::block_signal(SIGRTMIN + 2);
        for (int i = 1; i <= 3; ++i) test::queue_value(::getpid(), SIGRTMIN + 2, i);
        for (int i = 1; i <= 3; ++i) {
            auto const got = wait_for(signal_set{rt<2>}, 10s);
            require_in_child(got.has_value() && got->value() == i && got->code() == SI_QUEUE);
            require_in_child(got->signal() == rt<2> && got->info().si_signo == rt<2>);
        }
    });
}

TEST_CASE("a wait that finds nothing yields nothing", "[wait]") {
    in_child([] {
        auto const start = steady::now();
        maybe_signal const none = wait_for(signal_set{SIGUSR1}, 20ms);
        require_in_child(steady::now() - start >= 20ms);
        require_in_child(!none && !none.has_value());
        require_in_child(none.value().signal() == 0 && none->pid() == 0 && none->info().si_signo == 0);
        require_in_child(!is_blocked(SIGUSR1));
    });
}

TEST_CASE("handlers of other signals run, and do not lengthen a wait", "[wait]") {
    in_child([] {
        interrupt_often();
        auto const start = steady::now();
        require_in_child(!wait_for(signal_set{SIGUSR1}, 60ms));
        auto const waited = steady::now() - start;
        require_in_child(waited >= 60ms && waited < 10s);
        require_in_child(arrivals >= 1);
        auto const point = steady::now() + 40ms;
        require_in_child(!wait_until(signal_set{SIGUSR1}, point));
        require_in_child(steady::now() >= point);
    });
}

TEST_CASE("a deadline that passes while a handler runs yields nothing, or the signal that is there",
          "[wait]") {
    in_child([] {
        // the handler runs beyond the deadline
        auto const slow = test::make_action([](int) {
            auto const end = steady::now() + 60ms;
            while (steady::now() < end) {
            }
        });
        ::sigaction(SIGALRM, &slow, nullptr);
        itimerval const once{{0, 0}, {0, 10'000}};
        ::setitimer(ITIMER_REAL, &once, nullptr);
        maybe_signal const none = wait_for(signal_set{SIGUSR1}, 30ms);
        require_in_child(!none && none->signal() == 0);

        // and this one sends what is waited for
        auto const sending = test::make_action([](int) {
            auto const end = steady::now() + 60ms;
            while (steady::now() < end) {
            }
            ::kill(::getpid(), SIGUSR1);
        });
        ::sigaction(SIGALRM, &sending, nullptr);
        ::setitimer(ITIMER_REAL, &once, nullptr);
        maybe_signal const some = wait_for(signal_set{SIGUSR1}, 30ms);
        require_in_child(some && some->signal() == SIGUSR1);
    });
}

TEST_CASE("a signal that comes while a wait lasts is taken, even if the thread did not block it", "[wait]") {
    in_child([] {
        count(SIGUSR1);
        pthread_t const self = ::pthread_self();
        std::thread sender{[&] {
            test::until(main_thread_waits);
            ::pthread_kill(self, SIGUSR1);
        }};
        waited_signal const got = wait(signal_set{SIGUSR1});
        require_in_child(got.signal() == SIGUSR1 && arrivals == 0);
        sender.join();
        require_in_child(!is_blocked(SIGUSR1));
        ::raise(SIGUSR1);
        require_in_child(arrivals == 1);
    });
}

TEST_CASE("only the thread that waits sleeps", "[wait]") {
    in_child([] {
        test::block_signal(SIGUSR1);
        std::atomic<int> got{0};
        std::thread waiter{[&] { got = wait(signal_set{SIGUSR1}).signal(); }};
        long turns = 0;
        while (turns < 1000) ++turns;
        ::kill(::getpid(), SIGUSR1);
        waiter.join();
        require_in_child(got == SIGUSR1 && turns == 1000);
    });
}

TEST_CASE("a point that has come polls", "[wait]") {
    in_child([] {
        test::block_signal(SIGUSR1);
        require_in_child(!wait_until(signal_set{SIGUSR1}, steady::now() - 1h));
        require_in_child(!wait_until(signal_set{SIGUSR1}, steady::time_point::min()));
        ::raise(SIGUSR1);
        require_in_child(wait_until(signal_set{SIGUSR1}, steady::now() - 1h).has_value());
        auto const wall = std::chrono::system_clock::now() + 20ms;
        require_in_child(!wait_until(signal_set{SIGUSR1}, wall));
        require_in_child(std::chrono::system_clock::now() >= wall);
    });
}

TEST_CASE("a clock that is set while somebody waits for a point of it is noticed", "[wait]") {
    in_child([] {
        std::thread setter{[] {
            test::until(main_thread_waits);
            jumping::jumped = true;
        }};
        require_in_child(!wait_until(signal_set{SIGUSR1}, jumping::time_point{30min}));
        setter.join();
    });
}

TEST_CASE("a wait becomes an optional delivery", "[wait]") {
    in_child([] {
        test::block_signal(SIGUSR1);
        ::raise(SIGUSR1);
        std::optional<delivery> const some = wait_for(signal_set{SIGUSR1}, 100ms);
        require_in_child(some.has_value() && some->signal() == SIGUSR1);
        std::optional<delivery> const none{wait_for(signal_set{SIGUSR1}, 0ms)};
        require_in_child(!none);
        std::optional<waited_signal> later;
        ::raise(SIGUSR1);
        later = wait_for(signal_set{SIGUSR1}, 0ms);
        require_in_child(later && later->info().si_signo == SIGUSR1);
        ::raise(SIGUSR1);
        delivery const plain = wait(signal_set{SIGUSR1});
        require_in_child(plain.signal() == SIGUSR1);
    });
}

TEST_CASE("what never comes is refused by name", "[wait]") {
    CHECK(refusal_of([] { wait(signal_set{}); }).call == "wait(empty set)");
    CHECK(refusal_of([] { wait_for(signal_set{}, 1s); }).call == "wait_for(empty set)");
    CHECK(refusal_of([] { wait(signal_set{SIGUSR1, SIGKILL}); }).signal == SIGKILL);
    CHECK(refusal_of([] { wait_for(signal_set{SIGSTOP}, 1s); }).signal == SIGSTOP);
    CHECK(refusal_of([] { wait(signal_set{SIGUSR1, 32}); }).signal == 32);
    CHECK(refusal_of([] { wait(signal_set{SIGUSR1, 0}); }).code == EINVAL);
    CHECK(refusal_of([] { wait(valid_signals()); }).signal == SIGKILL);
    int code = 0;
    CHECK_FALSE(wait(code, signal_set{SIGKILL}));
    CHECK(code == EINVAL);
    CHECK_FALSE(is_blocked(SIGUSR1));
}

TEST_CASE("a length that is none is refused", "[wait]") {
    signal_set const set{SIGUSR1};
    CHECK(refusal_of([&] { wait_for(set, -1ns); }).call == "wait_for(negative duration)");
    CHECK(refusal_of([&] { wait_for(set, std::chrono::hours::max()); }).call == "wait_for(over 292 years)");
    std::chrono::duration<double> const nan{std::numeric_limits<double>::quiet_NaN()};
    CHECK(refusal_of([&] { wait_for(set, nan); }).call == "wait_for(not a number)");
    int code = 0;
    CHECK_FALSE(wait_for(code, set, -1s));
    CHECK(code == EINVAL);
    CHECK_FALSE(wait_for(code, set, 1ns));
    CHECK(code == 0);
    CHECK_FALSE(wait_until(code, set, steady::now()));
    CHECK(code == 0);
    CHECK_FALSE(wait_handler_for(code, set, -1s));
    CHECK(code == EINVAL);
}

TEST_CASE("a timer's overrun and a descriptor's events come along", "[wait]") {
    in_child([] {
        test::block_signal(SIGRTMIN + 1);
        sigevent event{};
        event.sigev_notify = SIGEV_SIGNAL;
        event.sigev_signo = SIGRTMIN + 1;
        event.sigev_value.sival_int = 7;
        timer_t timer{};
        require_in_child(::timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
        itimerspec const often{{0, 1'000'000}, {0, 1'000'000}};
        ::timer_settime(timer, 0, &often, nullptr);
        ::timespec const meanwhile{0, 20'000'000};
        ::nanosleep(&meanwhile, nullptr);
        waited_signal const tick = wait(signal_set{rt<1>});
        require_in_child(tick.code() == SI_TIMER && tick.overrun() >= 1 && tick.value() == 7);
        require_in_child(tick.fd() == -1 && tick.system_call() == -1);
        ::timer_delete(timer);

        test::block_signal(SIGRTMIN + 2);
        int ends[2];
        require_in_child(::pipe(ends) == 0);
        ::fcntl(ends[0], F_SETOWN, ::getpid());
        ::fcntl(ends[0], F_SETSIG, SIGRTMIN + 2);
        ::fcntl(ends[0], F_SETFL, O_ASYNC | O_NONBLOCK);
        require_in_child(::write(ends[1], "x", 1) == 1);
        waited_signal const ready = wait(signal_set{rt<2>});
        require_in_child(ready.fd() == ends[0] && (ready.events() & POLLIN) != 0 && ready.overrun() == 0);
    });
}

#if !defined(__SANITIZE_ADDRESS__)  // which takes the stack that cancellation unwinds for damaged
TEST_CASE("a wait is a cancellation point, and leaves the mask as it was", "[wait]") {
    in_child([] {
        static std::atomic<bool> left_blocked{true};
        static std::atomic<bool> cleaned{false};
        struct look {
            ~look() {
                left_blocked = is_blocked(SIGUSR1);
                cleaned = true;
            }
        };
        pthread_t waiter;
        ::pthread_create(
            &waiter, nullptr,
            [](void*) -> void* {
                look const at_the_end;
                wait(signal_set{SIGUSR1});
                return nullptr;
            },
            nullptr);
        // Again and again: it is a real-time signal, lost while the queue that all processes of a user share is full.
        test::until([&] {
            ::pthread_cancel(waiter);
            return cleaned.load();
        });
        ::pthread_join(waiter, nullptr);
        require_in_child(cleaned && !left_blocked);
    });
}
#endif

TEST_CASE("wait_handler sleeps until a handler has run, and misses none that came before", "[wait]") {
    in_child([] {
        count(SIGUSR1, SA_RESTART);
        test::block_signal(SIGUSR1);
        ::raise(SIGUSR1);
        require_in_child(arrivals == 0);
        wait_handler(signal_set{SIGUSR1});
        require_in_child(arrivals == 1 && is_blocked(SIGUSR1));
        auto const start = steady::now();
        require_in_child(!wait_handler_for(signal_set{SIGUSR1}, 20ms));
        require_in_child(steady::now() - start >= 20ms && arrivals == 1);
        ::raise(SIGUSR1);
        require_in_child(wait_handler_for(signal_set{SIGUSR1}, 0ms));
        require_in_child(arrivals == 2);
        ::raise(SIGUSR1);
        require_in_child(wait_handler_until(signal_set{SIGUSR1}, steady::now() + 10s));
        require_in_child(arrivals == 3 && !wait_handler_until(signal_set{SIGUSR1}, steady::now()));
    });
}

TEST_CASE("look and sleep lose nothing, however close the signals come", "[wait]") {
    in_child([] {
        count(SIGUSR1);
        test::block_signal(SIGUSR1);
        constexpr int rounds = 20'000;
        std::atomic<int> seen{0};
        pthread_t const self = ::pthread_self();
        std::thread sender{[&] {
            for (int i = 1; i <= rounds; ++i) {
                ::pthread_kill(self, SIGUSR1);
                while (seen < i) ::sched_yield();
            }
        }};
        for (int i = 1; i <= rounds; ++i) {
            while (arrivals < i) wait_handler(signal_set{SIGUSR1});
            seen = i;
        }
        sender.join();
        require_in_child(arrivals == rounds);
    });
}

TEST_CASE("an ignored signal does not end wait_handler", "[wait]") {
    in_child([] {
        ::signal(SIGUSR1, SIG_IGN);
        test::block_signal(SIGUSR1);
        ::raise(SIGUSR1);
        require_in_child(!wait_handler_for(signal_set{SIGUSR1}, 10ms));
    });
}

TEST_CASE("wait_handler refuses a signal that could have come too early", "[wait]") {
    refusal const open = refusal_of([] { wait_handler(signal_set{SIGUSR1}); });
    CHECK(open.code == EINVAL);
    CHECK(open.signal == SIGUSR1);
    CHECK(open.call == "wait_handler: not blocked");
    CHECK(refusal_of([] { wait_handler(signal_set{}); }).call == "wait_handler(empty set)");
    CHECK(refusal_of([] { wait_handler_for(signal_set{SIGKILL}, 1s); }).signal == SIGKILL);
}

TEST_CASE("a call that a filter refuses is an error with its name", "[wait]") {
    struct {
        long number;
        char const* call;
    } const calls[] = {
        {SYS_rt_sigtimedwait, "sigtimedwait"}, {SYS_ppoll, "ppoll"}, {SYS_rt_sigprocmask, "pthread_sigmask"}};
    for (auto const& each : calls) {
        in_child([&] {
            test::block_signal(SIGUSR1);
            test::refuse_call(each.number, EPERM);
            refusal const said = each.number == SYS_ppoll
                                     ? refusal_of([] { wait_handler(signal_set{SIGUSR1}); })
                                     : refusal_of([] { wait(signal_set{SIGUSR1}); });
            require_in_child(said.code == EPERM && said.call == each.call);
        });
    }
}
