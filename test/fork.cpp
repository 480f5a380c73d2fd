// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/call.hpp>
#include <tocsin/chain.hpp>
#include <tocsin/defer.hpp>
#include <tocsin/exit_with.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/stop.hpp>
#include <tocsin/wake.hpp>

#include <fcntl.h>
#include <sched.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

using namespace tocsin;
using namespace tocsin::test;

namespace {

// A guard with everything that a child could disturb.
struct everything {
    in_signal::atomic<int> called{0};
    int deferred = 0;
    in_signal::atomic<int> turns{0};

    auto make() {
        return guard{on<SIGUSR1, rt<1>>(wake), on<SIGUSR2, rt<2>>(defer([this] { ++deferred; })),
                     on<SIGHUP, rt<3>>(call([this] { called.fetch_add(1); })), on<SIGTERM>(request_stop),
                     on<SIGWINCH>(call([this] { turns.fetch_add(1); }))};
    }
    // Returns when the dispatcher has been through a round of everything that had been posted before.
    void let_dispatcher_turn() {
        int const before = turns.load();
        ::raise(SIGWINCH);
        until([&] { return turns.load() != before; });
    }
};

int const all_signals[] = {SIGUSR1, SIGUSR2, SIGHUP, SIGTERM};
void raise_all() {
    for (int const number : all_signals) ::raise(number);
    for (int offset = 1; offset <= 3; ++offset) ::raise(SIGRTMIN + offset);
}

template <class Guard>
void require_untouched(everything& state, Guard& signals) {
    require_in_child(!readable(signals.fd()));
    for (delivery const& d : signals.take()) require_in_child(d.signal() == 0);
    require_in_child(!signals.stop_requested() && !signals.stop_token().stop_requested());
    require_in_child(!signals.pending() && signals.check() == 0 && state.deferred == 0);
    for (int i = 0; i < 2; ++i) state.let_dispatcher_turn();
    require_in_child(state.called.load() == 0 && !signals.stop_token().stop_requested());
}

// Sends a signal to the calling thread, as a vforked child may: without the parent's notion of thread and process.
void send_to_myself(int number) {
    ::syscall(SYS_tgkill, ::syscall(SYS_getpid), ::syscall(SYS_gettid), number);
}

alignas(16) char vfork_stack[65536];
int clone_with_shared_memory(int (*f)(void*), void* argument) {
    pid_t const made = ::clone(f, vfork_stack + sizeof vfork_stack, CLONE_VM | CLONE_VFORK | SIGCHLD, argument);
    require_in_child(made > 0);
    int status = -1;
    while (::waitpid(made, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

}  // namespace

TEST_CASE("a signal in a forked child does not reach the parent", "[fork]") {
    in_child([] {
        everything state;
        auto signals = state.make();
        require_fork([] { raise_all(); });
        require_untouched(state, signals);
    });
}

TEST_CASE("a signal in a child of a child does not reach anybody above", "[fork]") {
    in_child([] {
        everything state;
        auto signals = state.make();
        require_fork([] {
            raise_all();
            require_fork([] { raise_all(); });
        });
        require_untouched(state, signals);
    });
}

TEST_CASE("a signal in a vforked child does not reach the parent", "[fork]") {
    in_child([] {
        everything state;
        auto signals = state.make();
        int const status = clone_with_shared_memory(
            [](void*) -> int {
                for (int const number : all_signals) send_to_myself(number);
                for (int offset = 1; offset <= 3; ++offset) send_to_myself(SIGRTMIN + offset);
                ::_exit(5);
            },
            nullptr);
        require_in_child(WIFEXITED(status) && WEXITSTATUS(status) == 5);
        require_untouched(state, signals);
    });
}

TEST_CASE("a signal in a child that has the parent's number in a pid namespace does not reach the parent", "[fork]") {
    auto process = child::run([] {
        // both are number 1, each in its own namespace
        if (::unshare(CLONE_NEWPID) != 0) {
            say("no namespaces here");
            return 0;
        }
        return WEXITSTATUS(status_of_fork([] {
            everything state;
            auto signals = state.make();
            require_in_child(::getpid() == 1);
            pid_t const made =
                static_cast<pid_t>(::syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
            if (made == 0) {
                require_in_child(::getpid() == 1);
                raise_all();
                ::_exit(0);
            }
            int status = -1;
            while (::waitpid(made, &status, 0) < 0 && errno == EINTR) {
            }
            require_in_child(status == 0);
            require_untouched(state, signals);
        }));
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.exited(0));
}

TEST_CASE("what the parent had pending is the parent's alone", "[fork]") {
    in_child([] {
        everything state;
        auto signals = state.make();
        for (int i = 0; i < 3; ++i) {
            ::raise(SIGUSR1);
            ::raise(SIGUSR2);
            queue_value(::getpid(), rt<1>, i);
        }
        require_fork([&] {
            for (delivery const& d : signals.take()) require_in_child(d.signal() == 0);
            require_in_child(signals.check() == 0 && state.deferred == 0 && !signals.pending());
        });
        require_in_child(readable(signals.fd()));
        int seen = 0;
        for (delivery const& d : signals.take()) seen += d.signal() == SIGUSR1 ? 10 : 1;
        require_in_child(seen == 13);
        require_in_child(signals.check() == 1 && state.deferred == 1);
    });
}

TEST_CASE("in a forked child in_handler, chain and exit_with go on as before", "[fork]") {
    in_child([] {
        static volatile sig_atomic_t steps;
        ::signal(SIGUSR1, +[](int) { steps = steps + 10; });
        guard signals{on<SIGUSR1>(in_handler([](delivery const&) noexcept { steps = steps + 1; }), chain),
                      on<SIGALRM>(exit_with(6))};
        int const status = status_of_fork([] {
            ::raise(SIGUSR1);
            require_in_child(steps == 11);
            ::raise(SIGALRM);
        });
        require_in_child(WIFEXITED(status) && WEXITSTATUS(status) == 6);
        require_in_child(steps == 0);
    });
}

TEST_CASE("a stop in a forked child is the child's alone, and works there", "[fork]") {
    in_child([] {
        guard signals{on<SIGTERM>(request_stop)};
        require_fork([&] {
            require_in_child(!signals.stop_requested());
            ::raise(SIGTERM);
            require_in_child(signals.stop_requested());
        });
        require_in_child(!signals.stop_requested());
        ::raise(SIGTERM);
        until([&] { return signals.stop_token().stop_requested(); });
    });
}

TEST_CASE("the first request of a forked child is no second one, whatever its parent was asked", "[fork]") {
    in_child([] {
        guard signals{on<SIGTERM>(request_stop)};
        ::raise(SIGTERM);
        until([&] { return signals.stop_token().stop_requested(); });
        require_fork([&] {
            ::raise(SIGTERM);
            require_in_child(signals.stop_requested());
        });
    });
}

TEST_CASE("a deferred reaction works in a forked child without more ado", "[fork]") {
    in_child([] {
        everything state;
        auto signals = state.make();
        for (int i = 0; i < 100; ++i) queue_value(::getpid(), rt<2>, i);
        signals.check();
        ::raise(rt<2>);
        state.deferred = 0;
        require_fork([&] {
            for (int round = 0; round < 3; ++round) {
                state.deferred = 0;
                for (int i = 0; i < 800; ++i) ::raise(rt<2>);
                ::raise(SIGUSR2);
                require_in_child(signals.pending());
                require_in_child(signals.check() == 801 && state.deferred == 801);
            }
        });
        require_in_child(signals.check() == 1 && state.deferred == 1);
    });
}

TEST_CASE("a forked child can check while another thread of the parent was in its turn", "[fork]") {
    in_child([] {
        in_signal::atomic<int> inside;
        in_signal::atomic<int> leave;
        int ran = 0;
        guard signals{on<SIGUSR1>(defer([&] {
                          if (leave.load() != 0) {
                              ++ran;
                              return;
                          }
                          inside.store(1);
                          until([&] { return leave.load() != 0; });
                      }))};
        ::raise(SIGUSR1);
        std::thread owner{[&] { signals.check(); }};
        until([&] { return inside.load() == 1; });
        require_fork([&] {
            leave.store(1);
            ::raise(SIGUSR1);
            require_in_child(signals.check() == 1 && ran == 1);
        });
        leave.store(1);
        owner.join();
    });
}

TEST_CASE("rearm makes everything live again in a forked child", "[fork]") {
    in_child([] {
        everything state;
        auto signals = state.make();
        // the parent's dispatcher has been round many times, and the rings have been used
        for (int i = 0; i < 50; ++i) state.let_dispatcher_turn();
        for (int i = 0; i < 1000; ++i) ::raise(rt<1>);
        for (delivery const& d : signals.take()) require_in_child(d.signal() == rt<1>);
        for (int i = 0; i < 900; ++i) queue_value(::getpid(), rt<1>, i);
        require_fork([&] {
            signals.rearm();
            require_in_child(!readable(signals.fd()) && !signals.stop_requested());
            for (int round = 0; round < 3; ++round) {
                for (int i = 0; i < 1000; ++i) queue_value(::getpid(), rt<1>, i);
                ::raise(SIGUSR1);
                require_in_child(readable(signals.fd()));
                int next = 0;
                for (delivery const& d : signals.take())
                    if (d.signal() == rt<1>) require_in_child(d.value() == next++);
                require_in_child(next == 1000);
            }
            ::raise(SIGUSR2);
            require_in_child(signals.check() == 1);
            ::raise(SIGHUP);
            ::raise(rt<3>);
            until([&] { return state.called.load() == 2; });
            require_in_child(!signals.stop_token().stop_requested());
            ::raise(SIGTERM);
            until([&] { return signals.stop_token().stop_requested(); });
            require_in_child((::fcntl(signals.fd(), F_GETFD) & FD_CLOEXEC) != 0);
            signals.rearm();
            require_in_child(signals.stop_requested());
        });
        require_in_child(readable(signals.fd()));
        int next = 0;
        for (delivery const& d : signals.take()) require_in_child(d.value() == next++);
        require_in_child(next == 900);
        require_untouched(state, signals);
        signals.rearm();
        require_untouched(state, signals);
    });
}

TEST_CASE("rearm works in a child that has closed all descriptors", "[fork]") {
    in_child([] {
        guard signals{on<SIGUSR1>(wake)};
        require_fork([&] {
            ::close_range(3, ~0U, 0);
            signals.rearm();
            ::raise(SIGUSR1);
            require_in_child(readable(signals.fd()));
        });
        require_in_child(!readable(signals.fd()));
    });
}

TEST_CASE("rearming one guard does not wake what the parent had waiting in another", "[fork]") {
    in_child([] {
        in_signal::atomic<int> inside;
        in_signal::atomic<int> leave;
        in_signal::atomic<int> other;
        in_signal::atomic<int> live;
        guard stopping{on<SIGTERM>(request_stop)};
        guard busy{on<SIGHUP>(call([&] {
                       inside.store(1);
                       until([&] { return leave.load() != 0; });
                   })),
                   on<SIGUSR1>(call([&] { other.fetch_add(1); }))};
        guard renewed{on<SIGWINCH>(call([&] { live.fetch_add(1); }))};
        ::raise(SIGHUP);
        until([&] { return inside.load() == 1; });
        ::raise(SIGUSR1);
        ::raise(SIGTERM);
        require_fork([&] {
            renewed.rearm();
            for (int i = 1; i <= 3; ++i) {
                ::raise(SIGWINCH);
                until([&] { return live.load() == i; });
            }
            require_in_child(other.load() == 0 && !stopping.stop_token().stop_requested());
        });
        leave.store(1);
        until([&] { return other.load() == 1 && stopping.stop_token().stop_requested(); });
    });
}

TEST_CASE("a stop that the child was asked for before rearm is kept", "[fork]") {
    in_child([] {
        guard signals{on<SIGTERM>(request_stop)};
        require_fork([&] {
            ::raise(SIGTERM);
            signals.rearm();
            require_in_child(signals.stop_requested());
            until([&] { return signals.stop_token().stop_requested(); });
        });
        ::raise(SIGTERM);
        until([&] { return signals.stop_token().stop_requested(); });
        require_fork([&] {
            signals.rearm();
            require_in_child(!signals.stop_requested() && !signals.stop_token().stop_requested());
        });
    });
}

TEST_CASE("a forked child's guards are destroyed without the threads that it does not have", "[fork]") {
    in_child([] {
        using deferring = guard<decltype(on<SIGUSR2>(defer(std::declval<void (*)()>())))>;
        using calling = guard<decltype(on<SIGHUP>(call(std::declval<void (*)()>()))),
                              decltype(on<SIGTERM>(request_stop))>;
        using handling = guard<decltype(on<SIGUSR1>(in_handler(std::declval<void (*)(delivery const&) noexcept>())))>;
        static in_signal::atomic<int> inside;
        static in_signal::atomic<int> leave;
        static auto const wait_inside = [] {
            inside.fetch_add(1);
            while (leave.load() == 0) in_signal::yield();
        };
        auto first = std::make_unique<deferring>(on<SIGUSR2>(defer(+[] { wait_inside(); })));
        auto second = std::make_unique<calling>(on<SIGHUP>(call(+[] { wait_inside(); })), on<SIGTERM>(request_stop));
        auto third = std::make_unique<handling>(
            on<SIGUSR1>(in_handler(+[](delivery const&) noexcept { wait_inside(); })));
        ::raise(SIGUSR2);
        ::raise(SIGHUP);
        std::thread checks{[&] { first->check(); }};
        std::thread handles{[&] { ::raise(SIGUSR1); }};
        until([&] { return inside.load() == 3; });
        for (bool const with_dispatcher : {false, true})
            require_fork([&] {
                std::unique_ptr<guard<decltype(on<SIGALRM>(call(std::declval<void (*)()>())))>> other;
                if (with_dispatcher)
                    other = std::make_unique<guard<decltype(on<SIGALRM>(call(std::declval<void (*)()>())))>>(
                        on<SIGALRM>(call(+[] {})));
                first.reset();
                second.reset();
                third.reset();
                for (int const number : {SIGUSR1, SIGUSR2, SIGHUP, SIGTERM})
                    require_in_child(action_of(number).sa_handler == SIG_DFL);
            });
        leave.store(1);
        checks.join();
        handles.join();
    });
}

TEST_CASE("a forked child may build guards of its own over its parent's", "[fork]") {
    in_child([] {
        everything outer_state;
        auto outer = outer_state.make();
        require_fork([] {
            everything state;
            auto signals = state.make();
            raise_all();
            require_in_child(readable(signals.fd()) && signals.stop_requested() && signals.pending());
            until([&] { return state.called.load() == 2 && signals.stop_token().stop_requested(); });
        });
        require_untouched(outer_state, outer);
    });
}

TEST_CASE("a fork from a call leaves a child that can go on and rearm", "[fork]") {
    in_child([] {
        in_signal::atomic<int> status{-1};
        everything state;
        auto signals = state.make();
        guard forking{on<SIGALRM>(call([&] {
            status.store(status_of_fork([&] {
                signals.rearm();
                ::raise(SIGHUP);
                until([&] { return state.called.load() == 1; });
            }));
        }))};
        ::raise(SIGALRM);
        until([&] { return status.load() != -1; });
        require_in_child(status.load() == 0);
        require_untouched(state, signals);
    });
}

TEST_CASE("a child may be forked while its parent takes, and leaves the walk without touching the parent", "[fork]") {
    in_child([] {
        guard signals{on<SIGUSR1, SIGUSR2>(wake)};
        ::raise(SIGUSR1);
        ::raise(SIGUSR2);
        int seen = 0;
        for (delivery const& d : signals.take()) {
            ++seen;
            if (d.signal() != SIGUSR1) continue;
            pid_t const made = ::fork();
            if (made == 0) break;
            int status = -1;
            require_in_child(::waitpid(made, &status, 0) == made && status == 0);
            require_in_child(!readable(signals.fd()));
        }
        if (seen == 1) ::_exit(0);
        require_in_child(seen == 2);
    });
}

TEST_CASE("a signal that the forking thread had masked for a full record is open in a rearmed child", "[fork]") {
    in_child([] {
        int deferred = 0;
        guard signals{on<rt<1>>(wake), on<rt<2>>(defer([&] { ++deferred; }))};
        for (int i = 0; i < 1500; ++i) {
            queue_value(::getpid(), rt<1>, i);
            queue_value(::getpid(), rt<2>, i);
        }
        unsigned long long const masked = in_signal::bit_of(rt<1>) | in_signal::bit_of(rt<2>);
        require_in_child(status_mask(::getpid(), "SigBlk:") == masked);
        require_fork([&] {
            signals.rearm();
            require_in_child(status_mask(::getpid(), "SigBlk:") == 0);
            ::raise(rt<1>);
            ::raise(rt<2>);
            require_in_child(readable(signals.fd()) && signals.check() == 1 && deferred == 1);
        });
        require_fork([&] {
            signals.check();
            ::raise(rt<2>);
            require_in_child(signals.check() == 1 && deferred == 1);
        });
        int next = 0;
        while (next < 1500)
            for (delivery const& d : signals.take()) require_in_child(d.value() == next++);
        while (deferred < 1500) signals.check();
        require_in_child(status_mask(::getpid(), "SigBlk:") == 0);
    });
}

TEST_CASE("children forked in a storm of signals are all well", "[fork]") {
    in_child([] {
        everything state;
        auto signals = state.make();
        guard ignoring{on<SIGTERM>(request_stop.every())};
        in_signal::atomic<int> done;
        std::thread storm{[&] {
            while (done.load() == 0)
                for (int const number : {SIGUSR1, SIGUSR2, SIGHUP, SIGRTMIN + 1, SIGRTMIN + 3})
                    ::kill(::getpid(), number);
        }};
        std::thread taking{[&] {
            while (done.load() == 0)
                for (delivery const& d : signals.take()) require_in_child(d.signal() != 0);
        }};
        for (int i = 0; i < 100; ++i) {
            signals.check();
            require_fork([&] {
                state.called.store(0);
                signals.rearm();
                ::raise(SIGUSR1);
                ::raise(SIGUSR2);
                ::raise(SIGHUP);
                ::raise(rt<1>);
                require_in_child(signals.check() == 1);
                int seen = 0;
                for (delivery const& d : signals.take()) seen += d.signal() == SIGUSR1 || d.signal() == rt<1>;
                require_in_child(seen == 2);
                until([&] { return state.called.load() == 1; });
            });
        }
        done.store(1);
        storm.join();
        taking.join();
    }, milliseconds{60'000});
}
