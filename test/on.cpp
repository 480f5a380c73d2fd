// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/call.hpp>
#include <tocsin/chain.hpp>
#include <tocsin/defer.hpp>
#include <tocsin/exit_with.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/ignore.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/stop.hpp>
#include <tocsin/wake.hpp>

#include <cerrno>
#include <thread>

using namespace tocsin;
using namespace tocsin::test;

namespace {
volatile sig_atomic_t order[8];
volatile sig_atomic_t ordered;
void note(int what) noexcept {
    order[ordered] = what;
    ordered = ordered + 1;
}
}  // namespace

TEST_CASE("a row names its signals, real-time ones too", "[on]") {
    auto row = on<SIGUSR1, rt<2>>(wake);
    int numbers[2];
    decltype(row)::trigger_type::numbers(numbers);
    CHECK(numbers[0] == SIGUSR1);
    CHECK(numbers[1] == SIGRTMIN + 2);
    static_assert(decltype(row)::restarts);
    static_assert(!decltype(on<SIGUSR1>(wake).interrupting())::restarts);
}

TEST_CASE("on_crash without signals is for every fault, with signals for those", "[on]") {
    auto nothing = in_handler([](delivery const&) noexcept {});
    CHECK(decltype(on_crash(nothing))::trigger_type::count == 7);
    CHECK(decltype(on_crash<SIGSEGV, SIGBUS>(nothing))::trigger_type::count == 2);
}

TEST_CASE("every reaction of a row runs, those of the handler first", "[on]") {
    in_child([] {
        guard signals{on<SIGUSR1>(defer([] { note(3); }), in_handler([](delivery const&) noexcept { note(1); }), wake,
                                  defer([] { note(4); }), in_handler([](delivery const&) noexcept { note(2); }))};
        ::raise(SIGUSR1);
        require_in_child(ordered == 2 && order[0] == 1 && order[1] == 2);
        require_in_child(readable(signals.fd()));
        require_in_child(signals.check() == 1);
        require_in_child(ordered == 4 && order[2] == 3 && order[3] == 4);
    });
}

TEST_CASE("several calls of a row run in their order", "[on]") {
    in_child([] {
        int first = 0;
        in_signal::atomic<int> second;
        guard signals{on<SIGUSR1>(call([&] { first = 1; }), call([&](delivery const&) { second.store(first + 1); }))};
        ::raise(SIGUSR1);
        until([&] { return second.load() != 0; });
        require_in_child(second.load() == 2);
    });
}

TEST_CASE("a row's end of the process comes after its call", "[on]") {
    auto process = child::run([] {
        guard signals{on<SIGTERM>(call([] { say("saved"); }), exit_with(3))};
        ::raise(SIGTERM);
        for (;;) ::pause();
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.exited(3));
    CHECK(result.out == "saved\n");
}

TEST_CASE("a row's end of the process comes after its deferred reaction, in check", "[on]") {
    auto process = child::run([] {
        guard signals{on<SIGUSR1>(defer([] { say("deferred"); }), exit_with(4))};
        ::raise(SIGUSR1);
        say("still here");
        signals.check();
        say("never");
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.exited(4));
    CHECK(result.out == "still here\ndeferred\n");
}

TEST_CASE("a row's default disposition after a call ends the process by the signal", "[on]") {
    auto process = child::run([] {
        guard signals{on<SIGTERM>(call([] { say("saved"); }), default_disposition)};
        ::raise(SIGTERM);
        for (;;) ::pause();
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.killed_by(SIGTERM));
    CHECK(result.out == "saved\n");
}

TEST_CASE("a row's default disposition after a deferred reaction ends the process by the signal", "[on]") {
    auto process = child::run([] {
        guard signals{on<SIGTERM>(defer([] { say("saved"); }), default_disposition)};
        ::raise(SIGTERM);
        signals.check();
        say("never");
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.killed_by(SIGTERM));
    CHECK(result.out == "saved\n");
}

TEST_CASE("a stop and a call of one row both happen, the stop first", "[on]") {
    in_child([] {
        in_signal::atomic<int> seen;
        std::stop_token token;
        guard signals{on<SIGTERM>(call([&] { seen.store(token.stop_requested() ? 2 : 1); }), request_stop)};
        token = signals.stop_token();
        ::raise(SIGTERM);
        until([&] { return seen.load() != 0; });
        require_in_child(seen.load() == 2);
    });
}

TEST_CASE("one row serves several signals, one reaction several rows", "[on]") {
    in_child([] {
        int sum = 0;
        guard signals{on<SIGUSR1, SIGUSR2>(defer([&](delivery const& d) { sum += d.signal(); })),
                      on<SIGHUP>(defer([&] { sum += 1000; }), wake), on<SIGWINCH>(wake)};
        for (int const number : {SIGUSR1, SIGUSR2, SIGHUP, SIGWINCH}) ::raise(number);
        require_in_child(signals.check() == 3);
        require_in_child(sum == SIGUSR1 + SIGUSR2 + 1000);
        int taken = 0;
        for (delivery const& d : signals.take()) taken += d.signal();
        require_in_child(taken == SIGHUP + SIGWINCH);
    });
}

TEST_CASE("system calls are restarted unless the row says interrupting", "[on]") {
    bool const interrupting = GENERATE(false, true);
    in_child([interrupting] {
        auto const read_interrupted = [](pid_t reader) {
            int ends[2];
            require_in_child(::pipe(ends) == 0);
            std::thread sender{[&] {
                // the reader sleeps in the pipe's read; another state means that it is on its way there
                std::string const path = "/proc/self/task/" + std::to_string(reader) + "/syscall";
                until([&] {
                    std::FILE* const file = std::fopen(path.c_str(), "r");
                    int number = -1;
                    unsigned long fd = 0;
                    int const got = std::fscanf(file, "%d %lx", &number, &fd);
                    std::fclose(file);
                    return got == 2 && number == SYS_read && fd == static_cast<unsigned long>(ends[0]);
                });
                ::syscall(SYS_tgkill, ::getpid(), reader, SIGUSR1);
                until([&] { return ordered == 1; });
                require_in_child(::write(ends[1], "x", 1) == 1);
            }};
            char byte = 0;
            long const got = ::read(ends[0], &byte, 1);
            int const reason = errno;
            sender.join();
            return got < 0 ? -reason : got;
        };
        auto const reader = static_cast<pid_t>(::syscall(SYS_gettid));
        auto row = on<SIGUSR1>(in_handler([](delivery const&) noexcept { note(1); }));
        if (interrupting) {
            guard signals{std::move(row).interrupting()};
            require_in_child(read_interrupted(reader) == -EINTR);
        } else {
            guard signals{std::move(row)};
            require_in_child(read_interrupted(reader) == 1);
        }
    });
}

TEST_CASE("the kernel holds an entry on the alternate stack that blocks all but faults", "[on]") {
    in_child([] {
        guard signals{on<SIGUSR1>(wake), on<SIGUSR2>(wake).interrupting()};
        auto const action = action_of(SIGUSR1);
        require_in_child((action.sa_flags & (SA_SIGINFO | SA_ONSTACK | SA_RESTART)) ==
                         (SA_SIGINFO | SA_ONSTACK | SA_RESTART));
        require_in_child((action_of(SIGUSR2).sa_flags & SA_RESTART) == 0);
        for (int number = 1; number <= 31; ++number)
            if (number != SIGKILL && number != SIGSTOP)
                require_in_child((::sigismember(&action.sa_mask, number) != 0) == !is_fault(number));
    });
}

TEST_CASE("a row that says once meets its first signal, and what was there before the others", "[on]") {
    in_child([] {
        ::signal(SIGUSR2, [](int) { note(7); });
        guard signals{on<SIGUSR1, SIGUSR2>(in_handler([](delivery const&) noexcept { note(1); })).once(),
                      on<SIGHUP>(wake)};
        ::raise(SIGUSR2);
        ::raise(SIGUSR2);
        require_in_child(ordered == 2 && order[0] == 1 && order[1] == 7);
        require_fork([] {
            // of the other signal the default was there
            int const status = status_of_fork([] { ::raise(SIGUSR1); });
            require_in_child(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
        });
    });
}

TEST_CASE("once counts for deferred reactions too, which still run", "[on]") {
    in_child([] {
        ::signal(SIGUSR1, SIG_IGN);
        int ran = 0;
        guard signals{on<SIGUSR1>(defer([&] { ++ran; })).once()};
        for (int i = 0; i < 3; ++i) ::raise(SIGUSR1);
        require_in_child(signals.check() == 1 && ran == 1 && !signals.pending());
        ::raise(SIGUSR1);
        require_in_child(signals.check() == 0 && ran == 1);
    });
}

TEST_CASE("unless_ignored leaves alone what is ignored and by no guard, signal by signal", "[on]") {
    in_child([] {
        ::signal(SIGHUP, SIG_IGN);
        {
            guard signals{on<SIGHUP, SIGUSR1>(wake).unless_ignored()};
            require_in_child(action_of(SIGHUP).sa_handler == SIG_IGN);
            ::raise(SIGHUP);
            require_in_child(!readable(signals.fd()));
            ::raise(SIGUSR1);
            require_in_child(readable(signals.fd()));
            guard inner{on<SIGHUP>(wake)};  // of a row that does not say it
            ::raise(SIGHUP);
            require_in_child(readable(inner.fd()));
        }
        require_in_child(action_of(SIGHUP).sa_handler == SIG_IGN);
        require_in_child(action_of(SIGUSR1).sa_handler == SIG_DFL);
    });
}

TEST_CASE("words about children reach the kernel for SIGCHLD alone", "[on]") {
    in_child([] {
        guard signals{on<rt<1>, SIGCHLD, SIGUSR1>(wake).without_stops().without_zombies()};
        constexpr int both = SA_NOCLDSTOP | SA_NOCLDWAIT;
        require_in_child((action_of(SIGCHLD).sa_flags & both) == both);
        require_in_child((action_of(SIGUSR1).sa_flags & both) == 0);
        guard inner{on<SIGCHLD>(wake).without_stops()};
        require_in_child((action_of(SIGCHLD).sa_flags & both) == SA_NOCLDSTOP);
    });
    in_child([] {
        guard signals{on<SIGCHLD>(wake)};
        require_in_child((action_of(SIGCHLD).sa_flags & (SA_NOCLDSTOP | SA_NOCLDWAIT)) == 0);
    });
}

TEST_CASE("a child that stops sends a signal unless the row says without_stops", "[on]") {
    bool const quiet = GENERATE(false, true);
    in_child([quiet] {
        int stops = 0;
        int ends = 0;
        auto const count = [&](delivery const& d) {
            ++(d.code() == CLD_STOPPED ? stops : ends);
        };
        auto const watch = [&](auto& signals) {
            pid_t const made = ::fork();
            if (made == 0) {
                ::raise(SIGSTOP);
                ::_exit(0);
            }
            int status = 0;
            while (::waitpid(made, &status, WUNTRACED) < 0) {
            }
            until([&] { return signals.check() != 0 || quiet; });
            ::kill(made, SIGKILL);  // a SIGCONT would be told as well, and may merge with the end
            while (::waitpid(made, &status, 0) < 0) {
            }
            until([&] {
                signals.check();
                return ends != 0;
            });
        };
        if (quiet) {
            guard signals{on<SIGCHLD>(defer(count)).without_stops()};
            watch(signals);
        } else {
            guard signals{on<SIGCHLD>(defer(count))};
            watch(signals);
        }
        require_in_child(ends == 1 && stops == (quiet ? 0 : 1));
    });
}

TEST_CASE("without_zombies leaves nothing to be waited for", "[on]") {
    in_child([] {
        guard signals{on<SIGCHLD>(wake).without_zombies()};
        pid_t const made = ::fork();
        if (made == 0) ::_exit(5);
        int status = 0;
        require_in_child(::waitpid(made, &status, 0) == -1 && errno == ECHILD);
        wait_readable(signals.fd());
    });
}
