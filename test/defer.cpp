// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/call.hpp>
#include <tocsin/defer.hpp>
#include <tocsin/guard.hpp>

#include <memory>
#include <stdexcept>
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
        signals.check();
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
