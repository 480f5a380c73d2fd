// SPDX-License-Identifier: MIT
// What does it cost to say that all is well, to enter and leave a scope that is watched, and to ask for a dump and take
// it back? And how often does the thread wake up that watches?
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <tocsin/deadline.hpp>
#include <tocsin/dump.hpp>
#include <tocsin/dump_later.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/watchdog.hpp>

#include "support/measure.hpp"
#include "support/python.hpp"
#include "support/threads.hpp"

using namespace tocsin;
using namespace tocsin::bench;
using namespace std::chrono_literals;

namespace {

constexpr int feeds = 100'000;
constexpr int calls = 1'000;

auto const nothing = in_handler([](delivery const&) noexcept {});

// Clock, deadline, and back: what a watched scope cannot do without.
struct scope_by_hand {
    alignas(64) std::uint64_t due = 0;
};

std::uint64_t now() {
    timespec read{};
    ::clock_gettime(CLOCK_MONOTONIC, &read);
    return static_cast<std::uint64_t>(read.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(read.tv_nsec);
}

double python_dump_later(python& of) { return of.turn(); }

constexpr char python_script[] =
    "import faulthandler, time\n"
    "def turn():\n"
    "    n = 100\n"
    "    start = time.perf_counter_ns()\n"
    "    for _ in range(n):\n"
    "        faulthandler.dump_traceback_later(100)\n"
    "        faulthandler.cancel_dump_traceback_later()\n"
    "    return (time.perf_counter_ns() - start) / n\n";

// Timers of the kernel, re-armed.
struct kernel_timers {
    timer_t timer{};
    int descriptor = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    itimerspec in_an_hour{{0, 0}, {3600, 0}};

    kernel_timers() {
        sigevent event{};
        event.sigev_notify = SIGEV_NONE;
        ::timer_create(CLOCK_MONOTONIC, &event, &timer);
    }
    double rearm_posix() {
        return each_call(calls, [this] { ::timer_settime(timer, 0, &in_an_hour, nullptr); });
    }
    double rearm_descriptor() {
        return each_call(calls, [this] { ::timerfd_settime(descriptor, 0, &in_an_hour, nullptr); });
    }
    double arm_and_disarm_posix() {
        itimerspec const never{};
        return each_call(calls, [&] {
            ::timer_settime(timer, 0, &in_an_hour, nullptr);
            ::timer_settime(timer, 0, &never, nullptr);
        });
    }
    double arm_and_disarm_descriptor() {
        itimerspec const never{};
        return each_call(calls, [&] {
            ::timerfd_settime(descriptor, 0, &in_an_hour, nullptr);
            ::timerfd_settime(descriptor, 0, &never, nullptr);
        });
    }
    static double rearm_itimer() {
        itimerval const in_an_hour{{0, 0}, {3600, 0}};
        double const cost = each_call(calls, [&] { ::setitimer(ITIMER_REAL, &in_an_hour, nullptr); });
        itimerval const never{};
        ::setitimer(ITIMER_REAL, &never, nullptr);
        return cost;
    }
};

// A thread that waits to be told; telling it is the heartbeat.
struct sleeper {
    std::mutex lock;
    std::condition_variable told;
    bool ends = false;
    unsigned beats = 0;
    std::thread thread{[this] {
        std::unique_lock<std::mutex> held{lock};
        while (!ends) told.wait_for(held, 1h);
    }};

    double notify() {
        return each_call(calls, [this] {
            std::lock_guard<std::mutex> const held{lock};
            ++beats;
            told.notify_one();
        });
    }
    ~sleeper() {
        {
            std::lock_guard<std::mutex> const held{lock};
            ends = true;
        }
        told.notify_one();
        thread.join();
    }
};

void heartbeat(kernel_timers& timers) {
    static std::uint32_t word;
    static std::atomic<std::uint32_t> atomic_word;
    static std::condition_variable alone;
    guard watched{watchdog(1h)(nothing)};
    sleeper waits;
    contest all{"heartbeat", rounds(41)};
    all.row("feed()").floor("relaxed store", [] {
        return each_call(feeds, [] { __atomic_store_n(&word, 1, __ATOMIC_RELAXED); });
    });
    all.peer("atomic store, sequentially consistent", [] { return each_call(feeds, [] { atomic_word.store(1); }); });
    all.peer("condition variable, nobody waits", [] { return each_call(calls, [] { alone.notify_one(); }); });
    all.peer("condition variable, one waits", [&] { return waits.notify(); });
    all.peer("setitimer", kernel_timers::rearm_itimer);
    all.peer("timer_settime", [&] { return timers.rearm_posix(); });
    all.peer("timerfd_settime", [&] { return timers.rearm_descriptor(); });
    all.ours("guard.feed()", target::times(1.1), [&] { return each_call(feeds, [&] { watched.feed(); }); });
    all.run();
}

void scopes(kernel_timers& timers) {
    static scope_by_hand scope;
    python faulthandler{python_script};
    dump_later(1h);
    { deadline first{1h}; }
    std::this_thread::sleep_for(100ms);  // the watcher has asked for its fences
    contest all{"deadline", rounds(31)};
    all.row("deadline scope, arm + disarm").floor("clock read and 2 stores", [] {
        return each_call(calls * 10, [] {
            __atomic_store_n(&scope.due, now() + 1'000'000'000, __ATOMIC_RELEASE);
            __asm__ volatile("" : : : "memory");
            __atomic_store_n(&scope.due, 0U, __ATOMIC_RELEASE);
        });
    });
    all.part("the same, one store sequentially consistent", [] {
        return each_call(calls * 10, [] {
            __atomic_store_n(&scope.due, now() + 1'000'000'000, __ATOMIC_SEQ_CST);
            __asm__ volatile("" : : : "memory");
            __atomic_store_n(&scope.due, 0U, __ATOMIC_RELEASE);
        });
    });
    all.peer("timer_settime x2", [&] { return timers.arm_and_disarm_posix(); });
    all.peer("timerfd_settime x2", [&] { return timers.arm_and_disarm_descriptor(); });
    if (faulthandler.installed())
        all.peer("faulthandler.dump_traceback_later + cancel", [&] { return python_dump_later(faulthandler); });
    else
        all.absent("faulthandler");
    all.ours("deadline here{1h}", target::times(1.1), [] { return each_call(calls * 10, [] { deadline here{1h}; }); },
             "where membarrier(2) is refused a fence is added, as in the row with one store sequentially consistent");
    all.row("a report unless it is taken back, the watcher running").floor_of("clock read and 2 stores");
    all.ours("deadline here{1h}", target::at_most(50), [] {
        return each_call(calls * 10, [] { deadline here{1h}; });
    });
    int const file = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    int ends[2] = {-1, -1};
    static_cast<void>(::pipe2(ends, O_CLOEXEC));
    auto const arm_and_cancel = [](int fd) {
        return each_call(calls, [fd] {
            dump_later(1h, dump_threads.to(fd));
            cancel_dump_later();
        });
    };
    all.row("dump_later, arm + cancel, the watcher running").floor_of("clock read and 2 stores");
    all.ours("dump_later(1h), cancel_dump_later()", target::at_most(50), [&] { return arm_and_cancel(file); },
             "to a terminal or file: one system call, whether the descriptor still is the open file whose duplicate is "
             "kept: a closed one is refused, a re-pointed one seen. The rest: the table's lock twice, the clock");
    all.part("a system call that asks for a descriptor", [file] {
        return each_call(calls, [file] { ::fcntl(file, F_GETFD); });
    });
    all.ours("the same to a pipe or a socket", {}, [&] { return arm_and_cancel(ends[1]); },
             "nothing is kept, its reader waits for the end: duplicated and described when armed, recognised and "
             "closed when taken back, 8 system calls");
    all.run();
}

// How often the watcher woke up in a while, in which `each_millisecond` is called.
template <class F>
double wake_ups(double milliseconds, F each_millisecond) {
    std::string const task = task_named("tocsin-watch");
    std::this_thread::sleep_for(20ms);  // the look at what has been added
    double const before = sleeps_of(task);
    double const end = wall_clock() + milliseconds * 1e6;
    while (wall_clock() < end) {
        each_millisecond();
        std::this_thread::sleep_for(1ms);
    }
    return sleeps_of(task) - before;
}

void count_wake_ups() {
    contest all{"watcher", 1};
    double const length = quick() ? 400 : 2000;
    all.row("wake-ups in " + std::to_string(static_cast<int>(length)) + " ms, fed seldom", "wake-ups");
    all.ours("watchdog(1h)", target::at_most(0.5), [length] {
        guard watched{watchdog(1h)(nothing)};
        return wake_ups(length, [] {});
    });
    all.row("wake-ups in " + std::to_string(static_cast<int>(length)) + " ms, resting", "wake-ups");
    all.ours("watchdog(100ms), resting()", target::at_most(0.5), [length] {
        guard watched{watchdog(100ms)(nothing)};
        auto const rest = watched.resting();
        std::this_thread::sleep_for(50ms);  // the look that finds it resting
        return wake_ups(length, [] {});
    });
    all.row("wake-ups a period of 200 ms, fed all the time", "wake-ups");
    all.ours("watchdog(200ms)", target::at_most(4.25), [length] {
        guard watched{watchdog(200ms)(nothing)};
        return wake_ups(length, [&] { watched.feed(); }) / (length / 200);
    }, "4, and what the edges of the measure add");
    all.row("wake-ups a period of 200 ms, 1,000 watchdogs, fed all the time", "wake-ups");
    all.ours("1,000 watchdog(200ms)", target::at_most(4.25), [length] {
        using guard_type = decltype(guard{watchdog(200ms)(nothing)});
        std::vector<std::unique_ptr<guard_type>> all_watched;
        for (int i = 0; i < 1000; ++i) all_watched.push_back(std::make_unique<guard_type>(watchdog(200ms)(nothing)));
        return wake_ups(length, [&] {
            for (auto const& each : all_watched) each->feed();
        }) / (length / 200);
    });
    all.row("wake-ups a second, a deadline of 1 s entered and left 1,000 times a second", "wake-ups");
    all.ours("deadline here{1s}", target::at_most(4.5), [length] {
        return wake_ups(length, [] { deadline here{1s}; }) / (length / 1000);
    }, "asked for once, looked at four times a period");
    all.run();
}

}  // namespace

int main() {
    kernel_timers timers;
    heartbeat(timers);
    scopes(timers);
    cancel_dump_later();
    count_wake_ups();
}
