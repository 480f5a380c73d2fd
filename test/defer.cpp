// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/call.hpp>
#include <tocsin/chain.hpp>
#include <tocsin/defer.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace tocsin;
using namespace tocsin::test;

TEST_CASE("a deferred reaction runs in check, on the thread that calls it, and not before", "[defer]") {
    in_child([] {
        int ran = 0;
        pid_t thread = 0;
        guard signals{on<SIGUSR1>(defer([&] {
            ++ran;
            thread = ::gettid();
        }))};
        require_in_child(!signals.pending() && signals.check() == 0);
        ::raise(SIGUSR1);
        require_in_child(signals.pending() && ran == 0);
        require_in_child(signals.check() == 1);
        require_in_child(ran == 1 && thread == ::gettid() && !signals.pending());
        require_in_child(signals.check() == 0 && ran == 1);
        require_in_child(threads() == 1);
    });
}

TEST_CASE("check runs in ascending order of signals and says how many deliveries ran", "[defer]") {
    in_child([] {
        std::vector<int> order;
        auto const f = [&](delivery const& d) { order.push_back(d.signal()); };
        guard signals{on<rt<1>>(defer(f)), on<SIGWINCH, SIGHUP>(defer(f)), on<SIGUSR1>(defer(f))};
        for (int const number : {static_cast<int>(rt<1>), SIGWINCH, SIGUSR1, SIGHUP, static_cast<int>(rt<1>)})
            ::raise(number);
        require_in_child(signals.check() == 5);
        require_in_child(order == std::vector<int>{SIGHUP, SIGUSR1, SIGWINCH, rt<1>, rt<1>});
    });
}

TEST_CASE("merged deliveries are counted, queued ones come one by one with their values", "[defer]") {
    in_child([] {
        unsigned long merged = 0;
        int runs = 0;
        int next = 0;
        guard signals{on<SIGUSR1>(defer([&](delivery const& d) {
                          ++runs;
                          merged = d.merged();
                          require_in_child(d.pid() == ::getpid());
                      })),
                      on<rt<0>>(defer([&](delivery const& d) { require_in_child(d.value() == next++); }))};
        for (int i = 0; i < 7; ++i) ::raise(SIGUSR1);
        for (int i = 0; i < 100; ++i) queue_value(::getpid(), rt<0>, i);
        require_in_child(signals.check() == 101);
        require_in_child(runs == 1 && merged == 7 && next == 100 && !signals.pending());
    });
}

TEST_CASE("an exception leaves check, and the rest stays pending", "[defer]") {
    in_child([] {
        std::vector<int> order;
        bool angry = true;
        guard signals{on<SIGHUP>(defer([&] { order.push_back(1); })), on<SIGUSR1>(defer([&] {
                                                                               order.push_back(2);
                                                                               if (angry) throw std::runtime_error{""};
                                                                           }),
                                                                           defer([&] { order.push_back(3); })),
                      on<SIGUSR2>(defer([&] { order.push_back(4); }))};
        for (int const number : {SIGUSR2, SIGUSR1, SIGHUP}) ::raise(number);
        bool thrown = false;
        try {
            signals.check();
        } catch (std::runtime_error const&) {
            thrown = true;
        }
        require_in_child(thrown && signals.pending());
        require_in_child(order == std::vector<int>{1, 2});
        require_in_child(signals.check() == 2);
        require_in_child(order == std::vector<int>{1, 2, 3, 4});
        require_in_child(!signals.pending() && signals.check() == 0);
    });
}

TEST_CASE("after an exception from the only reaction nothing of its delivery is pending", "[defer]") {
    int const number = GENERATE(SIGUSR1, 0);
    in_child([number] {
        int ran = 0;
        guard signals{on<SIGUSR1, rt<0>>(defer([&] {
            ++ran;
            throw 1;
        }))};
        ::raise(number != 0 ? number : static_cast<int>(rt<0>));
        try {
            signals.check();
            require_in_child(false);
        } catch (int) {
        }
        require_in_child(signals.check() == 0);
        require_in_child(ran == 1 && !signals.pending());
    });
}

TEST_CASE("the rest of a queued delivery runs before the next one, and then nothing is pending", "[defer]") {
    in_child([] {
        std::vector<int> order;
        guard signals{on<rt<0>>(defer([&](delivery const& d) {
                                    order.push_back(d.value());
                                    if (d.value() < 3) throw d.value();
                                }),
                                defer([&](delivery const& d) { order.push_back(10 * d.value()); }))};
        for (int i = 1; i <= 3; ++i) queue_value(::getpid(), rt<0>, i);
        int thrown = 0;
        for (int round = 0; round < 10 && signals.pending(); ++round) {
            try {
                signals.check();
            } catch (int) {
                ++thrown;
            }
        }
        require_in_child(thrown == 2 && !signals.pending());
        require_in_child(order == std::vector<int>{1, 10, 2, 20, 3, 30});
    });
}

TEST_CASE("the rest of the last queued delivery leaves nothing pending", "[defer]") {
    in_child([] {
        int rest = 0;
        guard signals{on<rt<0>>(defer([] { throw 1; }), defer([&] { ++rest; }))};
        ::raise(rt<0>);
        try {
            signals.check();
        } catch (int) {
        }
        require_in_child(signals.pending());
        require_in_child(signals.check() == 1);
        require_in_child(rest == 1 && !signals.pending());
    });
}

TEST_CASE("a nested check runs other signals and never the same reaction", "[defer]") {
    in_child([] {
        static std::vector<int> order;
        static std::size_t (*check_again)();
        auto first = on<SIGUSR1, SIGHUP>(defer([depth = 0]() mutable {
            require_in_child(depth++ == 0);
            order.push_back(1);
            for (int const number : {SIGUSR1, SIGHUP, SIGUSR2}) ::raise(number);
            require_in_child(check_again() == 1);
            --depth;
        }));
        auto second = on<SIGUSR2>(defer([] { order.push_back(2); }));
        using guard_type = guard<decltype(first), decltype(second)>;
        static guard_type* at;
        guard_type signals{std::move(first), std::move(second)};
        at = &signals;
        check_again = [] { return at->check(); };
        ::raise(SIGUSR1);
        // what the reaction sent itself is pending; SIGHUP lies before and waits for the next check
        require_in_child(signals.check() == 1);
        require_in_child(order == std::vector<int>{1, 2});
        require_in_child(signals.pending());
    });
}

TEST_CASE("a concurrent check returns at once and runs nothing", "[defer]") {
    in_child([] {
        in_signal::atomic<int> entered;
        in_signal::atomic<int> leave;
        int other = 0;
        guard signals{on<SIGUSR1>(defer([&] {
                          entered.store(1);
                          until([&] { return leave.load() != 0; });
                      })),
                      on<SIGUSR2>(defer([&] { ++other; }))};
        ::raise(SIGUSR1);
        std::thread owner{[&] { require_in_child(signals.check() == 2); }};
        until([&] { return entered.load() == 1; });
        ::raise(SIGUSR2);
        require_in_child(signals.pending() && signals.check() == 0 && other == 0);
        leave.store(1);
        owner.join();
        require_in_child(other == 1 && !signals.pending());
    });
}

TEST_CASE("a signal is never lost between two threads that check", "[defer]") {
    in_child([] {
        in_signal::atomic<unsigned long> seen;
        in_signal::atomic<int> done;
        guard signals{on<SIGUSR1>(defer([&](delivery const& d) { seen.fetch_add(d.merged()); })),
                      on<rt<0>>(defer([&] { seen.fetch_add(1); }))};
        auto const owner = [&] {
            while (done.load() == 0 || signals.pending()) signals.check();
        };
        std::thread first{owner};
        std::thread second{owner};
        for (int i = 0; i < 10'000; ++i) {
            ::raise(SIGUSR1);
            ::raise(rt<0>);
        }
        done.store(1);
        first.join();
        second.join();
        // While a record is full, the kernel keeps what comes; some of that may be under way still.
        test::until([&] {
            signals.check();
            return seen.load() >= 20'000;
        });
        require_in_child(seen.load() == 20'000 && !signals.pending());
    });
}

TEST_CASE("a deferred reaction may destroy its own guard, whose function lives until it returns", "[defer]") {
    in_child([] {
        static void (*destroy)();
        static bool after;
        auto held = std::make_shared<int>(4711);
        std::weak_ptr<int> const watch = held;
        auto row = on<SIGUSR1, SIGUSR2>(defer([held] {
                                            destroy();
                                            after = *held == 4711;
                                        }),
                                        defer([] { require_in_child(false); }));
        held.reset();
        using guard_type = guard<decltype(row)>;
        static guard_type* signals;
        destroy = [] { delete signals; };
        signals = new guard_type{std::move(row)};
        ::raise(SIGUSR1);
        ::raise(SIGUSR2);
        require_in_child(signals->check() == 1);
        require_in_child(after && watch.expired());
        require_in_child(action_of(SIGUSR1).sa_handler == SIG_DFL);
    });
}

TEST_CASE("pending can be asked in a handler and by any thread", "[defer]") {
    in_child([] {
        guard signals{on<SIGUSR1>(defer([] {}))};
        bool seen = false;
        std::thread{[&] { seen = signals.pending(); }}.join();
        require_in_child(!seen);
        ::raise(SIGUSR1);
        std::thread{[&] { seen = signals.pending(); }}.join();
        require_in_child(seen);
    });
}

TEST_CASE("a full record of queued signals waits for check and loses nothing", "[defer]") {
    in_child([] {
        int next = 0;
        guard signals{on<rt<0>>(defer([&](delivery const& d) { require_in_child(d.value() == next++); }))};
        for (int i = 0; i < 5000; ++i) queue_value(::getpid(), rt<0>, i);
        while (signals.pending()) signals.check();
        require_in_child(next == 5000);
        sigset_t mask;
        ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
        require_in_child(::sigismember(&mask, rt<0>) == 0);
    });
}

TEST_CASE("consume takes what is pending without the reaction, and counts it", "[defer]") {
    in_child([] {
        int ran = 0;
        guard signals{on<SIGUSR1, rt<0>>(defer([&] { ++ran; })), on<SIGUSR2>(defer([&] { ran += 100; }))};
        require_in_child(signals.consume(SIGUSR1).signal() == 0);
        for (int i = 0; i < 3; ++i) ::raise(SIGUSR1);
        for (int i = 1; i <= 4; ++i) queue_value(::getpid(), rt<0>, i);
        ::raise(SIGUSR2);
        delivery const standard = signals.consume(SIGUSR1);
        require_in_child(standard.signal() == SIGUSR1 && standard.merged() == 3 && standard.pid() == ::getpid());
        delivery const queued = signals.consume(rt<0>);
        require_in_child(queued.signal() == rt<0> && queued.merged() == 4 && queued.value() == 4);
        require_in_child(signals.consume(SIGUSR1).signal() == 0 && signals.consume(rt<0>).signal() == 0);
        require_in_child(signals.pending() && signals.check() == 1 && ran == 100 && !signals.pending());
    });
}

TEST_CASE("consume knows nothing of signals that are in no deferred row, or are none", "[defer]") {
    in_child([] {
        guard signals{on<SIGUSR1>(defer([] {})), on<rt<1>>(call([] {}))};
        ::raise(SIGUSR1);
        for (int const number : {-1, 0, SIGUSR2, static_cast<int>(rt<1>), static_cast<int>(rt<2>), 64, 65, 1000})
            require_in_child(signals.consume(number).signal() == 0);
        require_in_child(signals.check() == 1);
    });
}

TEST_CASE("consume takes what an exception had left, too", "[defer]") {
    in_child([] {
        int second = 0;
        guard signals{on<SIGUSR1>(defer([] { throw 1; }), defer([&] { ++second; }))};
        ::raise(SIGUSR1);
        try {
            signals.check();
        } catch (int) {
        }
        require_in_child(signals.pending() && signals.consume(SIGUSR1).merged() == 1);
        require_in_child(!signals.pending() && signals.check() == 0 && second == 0);
    });
}

TEST_CASE("what is pending when a guard ends is dropped, or told to on_orphaned", "[defer]") {
    in_child([] {
        int ran = 0;
        std::vector<int> orphans;
        {
            guard signals{on<SIGUSR1>(defer([&] { ++ran; })),
                          on<SIGUSR2, rt<0>>(defer([&] { ++ran; }).on_orphaned([&](delivery const& d) {
                              orphans.push_back(d.signal() == SIGUSR2 ? static_cast<int>(d.merged()) : d.value());
                              // the signal is nobody's any more
                              require_in_child(action_of(d.signal()).sa_handler == SIG_DFL);
                          }))};
            for (int i = 0; i < 3; ++i) ::raise(SIGUSR2);
            ::raise(SIGUSR1);
            queue_value(::getpid(), rt<0>, 10);
            queue_value(::getpid(), rt<0>, 11);
        }
        require_in_child(ran == 0 && orphans == std::vector<int>{3, 10, 11});
    });
}

TEST_CASE("what has run is no orphan", "[defer]") {
    in_child([] {
        int first = 0;
        int second = 0;
        {
            guard signals{on<SIGUSR1>(defer([] { throw 1; }).on_orphaned([&] { ++first; }),
                                      defer([] {}).on_orphaned([&] { ++second; }))};
            ::raise(SIGUSR1);
            try {
                signals.check();
            } catch (int) {
            }
        }
        require_in_child(first == 0 && second == 1);
    });
}

TEST_CASE("the orphans of a forked child's parent are the parent's", "[defer]") {
    in_child([] {
        int orphans = 0;
        auto row = on<SIGUSR1>(defer([] {}).on_orphaned([&] { ++orphans; }));
        auto* const signals = new guard{std::move(row)};
        ::raise(SIGUSR1);
        require_fork([&] {
            delete signals;
            require_in_child(orphans == 0);
        });
        delete signals;
        require_in_child(orphans == 1);
    });
}

TEST_CASE("redelivered orphans meet what was there before, with what they carried", "[defer]") {
    in_child([] {
        static volatile sig_atomic_t value;
        auto const action = make_action([](int, siginfo_t* info, void*) {
            value = info->si_code == SI_QUEUE ? info->si_value.sival_int : -1;
        });
        ::sigaction(SIGUSR1, &action, nullptr);
        {
            guard signals{on<SIGUSR1>(defer([] {}).on_orphaned(redeliver))};
            queue_value(::getpid(), SIGUSR1, 4711);
            require_in_child(value == 0);
        }
        require_in_child(value == 4711);
    });
    auto process = child::run([] {
        guard signals{on<SIGTERM>(defer([] {}).on_orphaned(redeliver))};
        ::raise(SIGTERM);
        say("still here");
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.killed_by(SIGTERM));
    CHECK(result.out == "still here\n");
}

namespace {

// Waits until a thread of this process sleeps in this system call.
void until_asleep(pid_t thread, long call) {
    std::string const path = "/proc/self/task/" + std::to_string(thread) + "/syscall";
    until([&] {
        std::FILE* const file = std::fopen(path.c_str(), "r");
        long number = -1;
        int const got = file != nullptr ? std::fscanf(file, "%ld", &number) : 0;
        if (file != nullptr) std::fclose(file);
        return got == 1 && number == call;
    });
}

}  // namespace

TEST_CASE("the owner is woken out of its system call by a signal that another thread was given", "[defer]") {
    in_child([] {
        pid_t ran_on = 0;
        int value = 0;
        guard signals{on<SIGUSR1>(defer([&](delivery const& d) {
                          ran_on = ::gettid();
                          value = d.value();
                      })).interrupting()};
        int ends[2];
        require_in_child(::pipe(ends) == 0);
        pid_t const main_thread = ::gettid();
        std::thread other{[&] {
            until_asleep(main_thread, SYS_read);
            sigval word{};
            word.sival_int = 4711;
            require_in_child(::pthread_sigqueue(::pthread_self(), SIGUSR1, word) == 0);
        }};
        {
            auto const mine = signals.own();
            char byte;
            require_in_child(::read(ends[0], &byte, 1) == -1 && errno == EINTR);
        }
        require_in_child(signals.check() == 1 && ran_on == main_thread && value == 4711);
        other.join();
    });
}

TEST_CASE("an interruption of the owner is no delivery, whoever owns the signal meanwhile", "[defer]") {
    bool const newer = GENERATE(false, true);
    in_child([newer] {
        static in_signal::atomic<int> handled;
        auto const note = in_handler([](delivery const&) noexcept { handled.fetch_add(1); });
        std::size_t ran = 0;
        guard signals{on<SIGUSR1>(note, defer([] {})).interrupting()};
        auto const mine = signals.own();
        int ends[2];
        require_in_child(::pipe(ends) == 0);
        pid_t const main_thread = ::gettid();
        std::thread other{[&] {
            until_asleep(main_thread, SYS_read);
            require_in_child(::pthread_kill(::pthread_self(), SIGUSR1) == 0);
        }};
        char byte;
        if (newer) {
            guard inner{on<SIGUSR1>(note, chain).interrupting()};
            require_in_child(::read(ends[0], &byte, 1) == -1 && errno == EINTR);
        } else {
            require_in_child(::read(ends[0], &byte, 1) == -1 && errno == EINTR);
        }
        other.join();
        ran += signals.check();
        require_in_child(ran == 1 && handled.load() == (newer ? 2 : 1));
    });
}

TEST_CASE("an owner is not interrupted by what came to itself, nor after its end, nor by a child", "[defer]") {
    in_child([] {
        guard signals{on<SIGUSR1>(defer([] {}))};
        auto const pending_here = [] {
            sigset_t waiting;
            ::sigpending(&waiting);
            return ::sigismember(&waiting, SIGUSR1) == 1;
        };
        auto const send_from_another = [] {
            std::thread{[] {
                block_signal(SIGUSR1, SIG_UNBLOCK);
                ::pthread_kill(::pthread_self(), SIGUSR1);
            }}.join();
        };
        {
            auto const mine = signals.own();
            ::raise(SIGUSR1);
            block_signal(SIGUSR1);
            require_in_child(!pending_here());
            require_fork([&] {
                send_from_another();
                require_in_child(!pending_here());
            });
            require_in_child(!pending_here());
            send_from_another();
            require_in_child(pending_here());
            block_signal(SIGUSR1, SIG_UNBLOCK);
        }
        block_signal(SIGUSR1);
        send_from_another();
        require_in_child(!pending_here());
    });
}

TEST_CASE("orphans are redelivered from any thread", "[defer]") {
    in_child([] {
        static volatile sig_atomic_t code;
        auto const action = make_action([](int, siginfo_t* info, void*) { code = info->si_code; });
        ::sigaction(SIGUSR1, &action, nullptr);
        std::thread{[] {
            guard signals{on<SIGUSR1>(defer([] {}).on_orphaned(redeliver))};
            ::kill(::getpid(), SIGUSR1);
            until([&] { return signals.pending(); });
            code = 4711;
        }}.join();
        require_in_child(code == SI_USER);
    });
}

TEST_CASE("an owner that has ended loses no signal", "[defer]") {
    in_child([] {
        guard signals{on<SIGUSR1>(defer([] {}))};
        std::thread{[&] { new posix::ownership{signals.own()}; }}.join();
        ::raise(SIGUSR1);
        require_in_child(signals.check() == 1);
    });
}
