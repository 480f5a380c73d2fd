// SPDX-License-Identifier: MIT
// Signals and threads: what CPython's tests of its signal module and of its threads expect, said for this library.
//
// Where Python has its main thread, we have whichever thread owns a guard's deferred rows.
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <tocsin/tocsin.hpp>

#include "support/report_text.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using namespace tocsin::test;

namespace {

using steady = std::chrono::steady_clock;

// A thread with signals blocked: what is sent to the process goes to another.
template <class Body>
std::thread quiet_thread(Body body) {
    block<SIGALRM, SIGUSR1, SIGUSR2> const here;
    return std::thread{std::move(body)};
}

std::string text_of(int fd) {
    char text[64];
    ssize_t const got = ::read(fd, text, sizeof text);
    return {text, got > 0 ? static_cast<std::size_t>(got) : 0};
}

}  // namespace

// --- Who runs what --------------------------------------------------------------------------------------------------

TEST_CASE("signals sent by another thread run deferred on the owner, each once", "[threadsignals]") {
    in_child([] {
        int ran[2]{};
        std::thread::id where[2];
        guard signals{on<SIGUSR1>(defer([&] { ++ran[0], where[0] = std::this_thread::get_id(); })),
                      on<SIGUSR2>(defer([&] { ++ran[1], where[1] = std::this_thread::get_id(); }))};
        auto const owner = signals.own();
        std::thread{[] {
            ::kill(::getpid(), SIGUSR1);
            ::kill(::getpid(), SIGUSR2);
        }}.join();
        until([&] { return signals.check() + static_cast<std::size_t>(ran[0] + ran[1]) >= 2; });
        for (int i = 0; i < 2; ++i) require_in_child(ran[i] == 1 && where[i] == std::this_thread::get_id());
        require_in_child(!signals.pending());
    });
}

TEST_CASE("a signal that was sent to another thread runs deferred on the owner as well", "[threadsignals]") {
    in_child([] {
        std::optional<std::thread::id> where;
        guard signals{on<SIGUSR1>(defer([&] { where = std::this_thread::get_id(); })).interrupting()};
        auto const owner = signals.own();
        int never[2];
        require_in_child(::pipe2(never, O_CLOEXEC) == 0);
        std::atomic<bool> done{false};
        std::thread other{[&] {
            ::raise(SIGUSR1);
            until_set(done);
        }};
        char byte;  // the owner sits in a call that nobody else ends
        while (!where) {
            ssize_t const got = signals.pending() ? -1 : ::read(never[0], &byte, 1);
            require_in_child(got == -1);
            signals.check();
        }
        require_in_child(*where == std::this_thread::get_id());
        done = true;
        other.join();
    });
}

TEST_CASE("a guard may be built, asked and removed by any thread", "[threadsignals]") {
    in_child([] {
        struct sigaction const before = action_of(SIGUSR1);
        int seen = 0;
        std::thread{[&] {
            guard signals{on<SIGUSR1>(wake)};
            ::kill(::getpid(), SIGUSR1);
            wait_readable(signals.fd());
            for (auto const& each : signals.take()) seen += each.signal() == SIGUSR1;
            require_in_child(query(SIGUSR1).owner() == disposition_owner::ours);
        }}.join();
        require_in_child(seen == 1 && same_action(before, action_of(SIGUSR1)));
    });
}

TEST_CASE("a signal for one thread is handled on that thread, and on the main thread if it is for that",
          "[threadsignals]") {
    in_child([] {
        static std::atomic<int> on_thread{0};
        guard signals{on<SIGUSR1>(in_handler([](delivery const&) noexcept { on_thread = in_signal::gettid(); }))};
        pthread_t const main = ::pthread_self();
        std::thread{[&] {
            require_in_child(::pthread_kill(::pthread_self(), SIGUSR1) == 0);
            require_in_child(on_thread == thread_id());
            require_in_child(::pthread_kill(main, SIGUSR1) == 0);
        }}.join();
        until([] { return on_thread == ::getpid(); });
    });
}

TEST_CASE("an exception for a signal surfaces at the safe point of the owner", "[threadsignals]") {
    in_child([] {
        guard signals{on<SIGUSR1>(throw_as<>), on<SIGUSR2>(defer([] {}))};
        std::thread{[] {
            ::raise(SIGUSR1);
            ::raise(SIGUSR2);
        }}.join();
        bool thrown = false;
        try {
            signals.check();
        } catch (interrupted const& e) {
            thrown = e.by().signal() == SIGUSR1;
        }
        require_in_child(thrown && signals.pending() && signals.check() == 1);
    });
}

// --- Locks ----------------------------------------------------------------------------------------------------------

TEST_CASE("waiting for a lock ends by an exception that a signal asks for", "[threadsignals]") {
    in_child([] {
        guard signals{on<SIGALRM>(throw_as<>).interrupting()};
        auto const owner = signals.own();
        sem_t lock;
        require_in_child(::sem_init(&lock, 0, 0) == 0);
        auto const start = steady::now();
        interval_timer<ITIMER_REAL> const soon{10ms, 10ms};
        bool thrown = false;
        try {
            retry(signals, 20s, [&](time_left left) {
                timespec until_then{};
                ::clock_gettime(CLOCK_MONOTONIC, &until_then);
                until_then.tv_sec += left.count() / 1'000'000'000;
                return ::sem_clockwait(&lock, CLOCK_MONOTONIC, &until_then);
            });
        } catch (interrupted const&) {
            thrown = true;
        }
        require_in_child(thrown && steady::now() - start < 10s);
    });
}

TEST_CASE("waiting for a condition ends by a stop that a signal asks for", "[threadsignals]") {
    in_child([] {
        guard signals{on<SIGTERM>(request_stop)};
        std::mutex of_it;
        std::condition_variable_any changed;
        std::unique_lock lock{of_it};
        std::thread other{[&] {
            std::lock_guard const inside{of_it};  // the first thread waits by now
            ::kill(::getpid(), SIGTERM);
        }};
        require_in_child(!changed.wait(lock, signals.stop_token(), [] { return false; }));
        lock.unlock();
        other.join();
        require_in_child(signals.stop_requested());
    });
}

TEST_CASE("a lock is waited for on and on if the reaction does not throw, and taken in the end", "[threadsignals]") {
    in_child([] {
        std::atomic<int> ran{0};
        guard signals{on<SIGUSR1>(defer([&] { ++ran; })).interrupting()};
        auto const owner = signals.own();
        sem_t lock;
        require_in_child(::sem_init(&lock, 0, 0) == 0);
        std::thread other = quiet_thread([&] {
            for (int round = 1; round <= 3; ++round) {
                until([&] {
                    ::kill(::getpid(), SIGUSR1);
                    return ran >= round;
                });
            }
            ::sem_post(&lock);
        });
        require_in_child(retry(signals, [&] { return ::sem_wait(&lock); }) == 0);
        other.join();
        require_in_child(ran >= 3);
    });
}

TEST_CASE("a lock with a deadline is not waited for any longer because signals come", "[threadsignals]") {
    in_child([] {
        guard signals{on<SIGUSR1>(defer([] {})).interrupting()};
        sem_t lock;
        require_in_child(::sem_init(&lock, 0, 0) == 0);
        std::atomic<bool> done{false};
        std::thread storm = quiet_thread([&] {
            while (!done) {
                ::kill(::getpid(), SIGUSR1);
                ::poll(nullptr, 0, 5);
            }
        });
        auto const start = steady::now();
        int const got = retry(signals, 100ms, [&](time_left left) {
            timespec end{};
            ::clock_gettime(CLOCK_MONOTONIC, &end);
            end.tv_nsec += left.count();
            end.tv_sec += end.tv_nsec / 1'000'000'000;
            end.tv_nsec %= 1'000'000'000;
            return ::sem_clockwait(&lock, CLOCK_MONOTONIC, &end);
        });
        int const why = errno;
        auto const took = steady::now() - start;
        done = true;
        storm.join();
        require_in_child(got == -1 && why == ETIMEDOUT);
        require_in_child(took >= 100ms && took < 5s);
    });
}

// --- Wakeups --------------------------------------------------------------------------------------------------------

TEST_CASE("a signal that came before select wakes it at once, and one that comes during it as well",
          "[threadsignals]") {
    in_prompt_child([] {
        guard signals{on<SIGALRM>(wake)};
        auto const selects = [&] {
            fd_set set;
            FD_ZERO(&set);
            FD_SET(signals.fd(), &set);
            timeval limit{20, 0};
            auto const start = steady::now();
            int const ready = retry([&] { return ::select(signals.fd() + 1, &set, nullptr, nullptr, &limit); });
            require_in_child(ready == 1 && steady::now() - start < 10s);
            int seen = 0;
            for (auto const& each : signals.take()) seen += each.signal() == SIGALRM;
            require_in_child(seen == 1 && !readable(signals.fd()));
        };
        ::raise(SIGALRM);
        selects();
        interval_timer<ITIMER_REAL> const soon{10ms};
        selects();
    });
}

TEST_CASE("of signals that were blocked together, the wakeups tell all, the lowest number first", "[threadsignals]") {
    in_prompt_child([] {
        guard signals{on<SIGUSR1, SIGUSR2, SIGALRM, rt<0>>(wake)};
        {
            block<SIGUSR1, SIGUSR2, SIGALRM, rt<0>> const here;
            for (int const number : {int{rt<0>}, SIGALRM, SIGUSR2, SIGUSR1, int{rt<0>}}) ::raise(number);
            require_in_child(!readable(signals.fd()));
        }
        std::vector<int> seen;
        for (auto const& each : signals.take()) seen.push_back(each.signal());
        require_in_child(seen == std::vector<int>{SIGUSR1, SIGUSR2, SIGALRM, rt<0>, rt<0>});
    });
}

TEST_CASE("deferred reactions run in the order of the numbers, whoever sent first", "[threadsignals]") {
    in_child([] {
        std::vector<int> seen;
        auto const note = [&](delivery const& what) { seen.push_back(what.signal()); };
        guard signals{on<SIGTERM>(defer(note)), on<SIGHUP>(defer(note)), on<SIGUSR1>(defer(note))};
        for (int const number : {SIGTERM, SIGUSR1, SIGHUP}) ::raise(number);
        require_in_child(signals.check() == 3);
        require_in_child(seen == std::vector<int>{SIGHUP, SIGUSR1, SIGTERM});
    });
}

// --- Restarting -----------------------------------------------------------------------------------------------------

TEST_CASE("a row restarts a read unless it says interrupting", "[threadsignals]") {
    in_prompt_child([] {
        int ends[2];
        require_in_child(::pipe2(ends, O_CLOEXEC) == 0);
        std::atomic<int> const* counter = nullptr;
        static std::atomic<int> handled{0};
        counter = &handled;
        auto const count = in_handler([](delivery const&) noexcept { ++handled; });
        auto const main = ::pthread_self();
        auto const two_signals = [&](bool then_write) {
            handled = 0;
            return quiet_thread([&, then_write] {
                until([&] {
                    ::pthread_kill(main, SIGALRM);
                    return *counter >= 2;
                });
                if (then_write) require_in_child(::write(ends[1], "done", 4) == 4);
            });
        };
        {
            guard signals{on<SIGALRM>(count)};
            std::thread other = two_signals(true);
            require_in_child(text_of(ends[0]) == "done");
            other.join();
        }
        guard signals{on<SIGALRM>(count).interrupting()};
        for (int round = 0; round < 2; ++round) {  // stays so
            int const before = handled;
            std::thread other = quiet_thread([&, before] {
                until([&] {
                    ::pthread_kill(main, SIGALRM);
                    ::sched_yield();
                    return *counter > before + 1;
                });
                require_in_child(::write(ends[1], "late", 4) == 4);
            });
            char byte[4];
            int failed = 0;
            while (::read(ends[0], byte, 4) == -1) failed += errno == EINTR;
            require_in_child(failed > 0);
            other.join();
        }
    });
}

// --- Timers, masks and waits ----------------------------------------------------------------------------------------

TEST_CASE("the three interval timers tick again and again until they are stopped", "[threadsignals]") {
    in_child([] {
        static std::atomic<int> ticks{0};
        auto const count = in_handler([](delivery const&) noexcept { ++ticks; });
        auto const burn = [] {  // user time, and some of the system's
            until([] { return ticks >= 3; });
        };
        {
            guard signals{on<SIGALRM>(count)};
            interval_timer<ITIMER_REAL> const timer{5ms, 5ms};
            burn();
        }
        ticks = 0;
        {
            guard signals{on<SIGVTALRM>(count)};
            interval_timer<ITIMER_VIRTUAL> const timer{5ms, 5ms};
            while (ticks < 3) {
            }
        }
        ticks = 0;
        guard signals{on<SIGPROF>(count)};
        {
            interval_timer<ITIMER_PROF> const timer{5ms, 5ms};
            burn();
        }
        int const then = ticks;
        auto const end = steady::now() + 30ms;
        while (steady::now() < end) {
        }
        require_in_child(ticks == then);
    });
}

TEST_CASE("the tiniest interval timer still comes", "[threadsignals]") {
    in_child([] {
        block<SIGALRM> const here;
        interval_timer<ITIMER_REAL> const timer{1ns};
        require_in_child(wait_for(signal_set{SIGALRM}, 20s)->signal() == SIGALRM);
    });
}

TEST_CASE("nothing is pending, then what is blocked and sent, then nothing", "[threadsignals]") {
    in_child([] {
        require_in_child(pending().empty());
        int ran = 0;
        guard signals{on<SIGUSR1>(defer([&] { ++ran; }))};
        {
            block<SIGUSR1> const here;
            ::kill(::getpid(), SIGUSR1);
            require_in_child(pending() == signal_set{SIGUSR1} && !signals.pending());
        }
        require_in_child(pending().empty());   // what an end of a block lets through has been handled
        require_in_child(signals.pending());
        require_in_child(signals.check() == 1 && ran == 1);
    });
}

TEST_CASE("masks nest, are inherited by threads, and may hold every signal", "[threadsignals]") {
    in_child([] {
        auto const blocked = [](int number) { return has_signal(status_mask(::getpid(), "SigBlk:"), number); };
        {
            block<SIGUSR1> const outer;
            {
                block<> const all{blockable_signals};
                unblock<SIGUSR2> const hole;
                require_in_child(blocked(SIGUSR1) && blocked(SIGTERM) && !blocked(SIGUSR2) && !blocked(SIGKILL));
            }
            require_in_child(blocked(SIGUSR1) && !blocked(SIGTERM) && !blocked(SIGUSR2));
            std::thread{[] {
                sigset_t mine;
                ::pthread_sigmask(SIG_BLOCK, nullptr, &mine);
                require_in_child(::sigismember(&mine, SIGUSR1) == 1 && ::sigismember(&mine, SIGTERM) == 0);
            }}.join();
        }
        require_in_child(!blocked(SIGUSR1));
    });
}

TEST_CASE("a wait takes what is pending, polls, times out and refuses negative times", "[threadsignals]") {
    in_child([] {
        static std::atomic<int> handled{0};
        guard signals{on<SIGALRM, SIGUSR1>(in_handler([](delivery const&) noexcept { ++handled; }))};
        block<SIGALRM> const here;
        ::raise(SIGALRM);
        require_in_child(wait(signal_set{SIGALRM}).signal() == SIGALRM);
        ::raise(SIGALRM);
        auto const polled = wait_for(signal_set{SIGALRM}, 0s);
        require_in_child(polled && polled->signal() == SIGALRM);
        require_in_child(!wait_for(signal_set{SIGALRM}, 0s));
        auto const start = steady::now();
        require_in_child(!wait_for(signal_set{SIGALRM}, 30ms) && steady::now() - start >= 30ms);
        bool refused = false;
        try {
            static_cast<void>(wait_for(signal_set{SIGALRM}, -1s));
        } catch (error const& e) {
            refused = e.code() == EINVAL;
        }
        require_in_child(refused && handled == 0);
    });
}

TEST_CASE("only the thread that waits sleeps, and a wait with handlers of others is not its end", "[threadsignals]") {
    in_child([] {
        static std::atomic<int> handled{0};
        guard signals{on<SIGALRM>(in_handler([](delivery const&) noexcept { ++handled; })).interrupting()};
        block<SIGUSR1> const here;
        auto const main = ::pthread_self();
        std::thread other{[&] {
            until([&] {
                ::pthread_kill(main, SIGALRM);
                return handled >= 3;
            });
            ::kill(::getpid(), SIGUSR1);
        }};
        waited_signal const got = wait(signal_set{SIGUSR1});
        other.join();
        require_in_child(got.signal() == SIGUSR1 && got.pid() == ::getpid() && got.uid() == ::getuid());
        require_in_child(handled >= 3);
    });
}

// --- In rapid succession --------------------------------------------------------------------------------------------

TEST_CASE("ten thousand signals, each sent once the one before has been handled", "[threadsignals]") {
    in_child([] {
        constexpr int many = 10'000;
        int ran = 0;
        guard signals{on<SIGPROF>(defer([&] { ++ran; })), on<SIGUSR1, SIGALRM>(defer([&] { ++ran; }))};
        for (int sent = 0; sent < many; ++sent) {
            int const number = sent % 3 == 0 ? SIGPROF : sent % 3 == 1 ? SIGUSR1 : SIGALRM;
            if (number == SIGALRM) {
                interval_timer<ITIMER_REAL> const at_once{1us};
                until([&] { return signals.pending(); });
            } else {
                ::kill(::getpid(), number);
            }
            until([&] {
                signals.check();
                return ran == sent + 1;
            });
        }
        require_in_child(ran == many && !signals.pending());
    });
}

TEST_CASE("two signals at the same time are both handled, ten thousand times", "[threadsignals]") {
    in_child([] {
        constexpr int many = 10'000;
        int first = 0;
        int second = 0;
        guard signals{on<SIGUSR1>(defer([&] { ++first; })), on<SIGALRM>(defer([&] { ++second; }))};
        for (int round = 1; round <= many; ++round) {
            interval_timer<ITIMER_REAL> const soon{1us};
            ::kill(::getpid(), SIGUSR1);
            until([&] {
                signals.check();
                return first == round && second == round;
            });
        }
        require_in_child(first == many && second == many);
    });
}

TEST_CASE("of many signals from many threads at least the last one is seen", "[threadsignals]") {
    in_child([] {
        std::atomic<int> sent{0};
        int last_seen = 0;
        unsigned long merged = 0;
        guard signals{on<SIGUSR1>(defer([&](delivery const& what) {
            merged += what.merged();
            last_seen = sent;
        }))};
        std::atomic<bool> go{true};
        std::vector<std::thread> senders;
        for (int i = 0; i < 4; ++i)
            senders.push_back(quiet_thread([&] {
                for (int round = 0; round < 5000; ++round) {
                    ++sent;
                    ::kill(::getpid(), SIGUSR1);
                }
            }));
        std::thread checks{[&] {
            block<SIGUSR1> const here;
            while (go) signals.check();
        }};
        for (auto& each : senders) each.join();
        ++sent;
        ::kill(::getpid(), SIGUSR1);
        go = false;
        checks.join();
        until([&] {
            signals.check();
            return last_seen == sent;
        });
        require_in_child(merged >= 1 && merged <= static_cast<unsigned long>(sent) && !signals.pending());
    });
}

TEST_CASE("queued signals in rapid succession all run, in order, with their values", "[threadsignals]") {
    in_prompt_child([] {
        constexpr int many = 20'000;
        int next = 0;
        bool in_order = true;
        guard signals{on<rt<2>>(defer([&](delivery const& what) { in_order = in_order && what.value() == next++; }))};
        auto const owner = signals.own();
        std::thread sender{[] {
            sigset_t mine;  // the owner takes them, one by one
            ::sigemptyset(&mine);
            ::sigaddset(&mine, rt<2>);
            ::pthread_sigmask(SIG_BLOCK, &mine, nullptr);
            for (int i = 0; i < many; ++i) queue_value(::getpid(), rt<2>, i);
        }};
        until([&] {
            signals.check();
            return next == many;
        });
        sender.join();
        require_in_child(in_order);
    });
}

TEST_CASE("signals that come while guards come and go are handled by one of them or by who was before",
          "[threadsignals]") {
    in_child([] {
        static std::atomic<long> below{0};
        static std::atomic<long> inside{0};
        struct sigaction const older = make_action([](int) { ++below; }, SA_RESTART);
        ::sigaction(SIGUSR1, &older, nullptr);
        std::atomic<bool> done{false};
        std::atomic<long> raised{0};
        std::thread changes = quiet_thread([&] {
            while (!done) {
                guard signals{on<SIGUSR1>(in_handler([](delivery const&) noexcept { ++inside; }))};
                ::sched_yield();
            }
        });
        auto const end = steady::now() + 300ms;
        while (steady::now() < end || below == 0 || inside == 0) {
            ::raise(SIGUSR1);
            ++raised;
        }
        done = true;
        changes.join();
        // One that meets a row just going may run twice at most (posix/registry.hpp), none may be lost.
        require_in_child(below + inside >= raised);
    });
}

// --- Sending --------------------------------------------------------------------------------------------------------

TEST_CASE("raising Ctrl-C becomes an exception, and number 0 asks without sending", "[threadsignals]") {
    in_child([] {
        guard signals{on<SIGINT>(throw_keyboard_interrupt)};
        require_in_child(::kill(::getpid(), 0) == 0 && !signals.pending());
        ::raise(SIGINT);
        bool thrown = false;
        try {
            signals.check();
        } catch (keyboard_interrupt const&) {
            thrown = true;
        }
        require_in_child(thrown);
    });
}

TEST_CASE("numbers that are no signals, or never come, are refused by name", "[threadsignals]") {
    in_child([] {
        auto const refused = [](auto make) {
            try {
                make();
            } catch (error const& e) {
                return e.code();
            }
            return 0;
        };
        require_in_child(refused([] { static_cast<void>(wait_for(signal_set{SIGKILL}, 1ms)); }) == EINVAL);
        require_in_child(refused([] { static_cast<void>(wait_for(signal_set{}, 1ms)); }) == EINVAL);
        require_in_child(refused([] { timer const wrong{4242, 1ms}; }) == EINVAL);
        require_in_child(refused([] { process_defaults const wrong{signal_set{SIGSTOP}}; }) == EINVAL);
        require_in_child(!parse("SIGNONE") && !parse("65") && !parse("-1") && !parse("32"));
    });
}

TEST_CASE("a process that ends by Ctrl-C is seen to end by the signal", "[threadsignals]") {
    auto process = child::run([] {
        guard signals{on<SIGINT>(throw_keyboard_interrupt)};
        ::raise(SIGINT);
        try {
            signals.check();
        } catch (keyboard_interrupt const& e) {
            die_by(e.by().signal());
        }
    });
    CHECK(process.wait().killed_by(SIGINT));
}
