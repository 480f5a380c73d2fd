// SPDX-License-Identifier: MIT
#include <tocsin/simulate.hpp>

#include <tocsin/call.hpp>
#include <tocsin/chain.hpp>
#include <tocsin/defer.hpp>
#include <tocsin/dump.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/ignore.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/stop.hpp>
#include <tocsin/wake.hpp>

#include <fenv.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string>
#include <thread>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/report_text.hpp"

using namespace tocsin;
using test::child;
using test::require_in_child;

namespace {

bool readable(int fd) {
    pollfd what{fd, POLLIN, 0};
    return ::poll(&what, 1, 0) == 1;
}

std::uint64_t mask_now() {
    sigset_t now;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
    return *reinterpret_cast<std::uint64_t const*>(&now);
}

__attribute__((noinline, no_sanitize("address", "undefined"))) void write_null() {
    int volatile* null = nullptr;
    __asm__ volatile("" : "+r"(null));
    *null = 1;
}

// Runs f in a child, and says what went wrong there.
template <class F>
void in_child(F f) {
    auto subject = child::run(f);
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}

}  // namespace

TEST_CASE("numbers that are no signal, or cannot be caught, are refused", "[simulate]") {
    in_child([] {
        for (int const number : {0, -1, 65, INT_MAX, INT_MIN, 32, 33, SIGKILL, SIGSTOP})
            require_in_child(simulate(number).result() == simulation::invalid && !simulate(number));
    });
}

TEST_CASE("a signal that nobody claims is left alone, whatever its disposition is", "[simulate]") {
    in_child([] {
        require_in_child(simulate(SIGTERM) == simulation::not_handled);  // before there is any guard
        static int volatile called = 0;
        struct sigaction action {};
        action.sa_handler = [](int) { called = 1; };
        ::sigaction(SIGUSR2, &action, nullptr);
        ::signal(SIGHUP, SIG_IGN);
        guard signals{on<SIGUSR1>(wake)};
        require_in_child(simulate(SIGTERM) == simulation::not_handled && !simulate(SIGTERM));
        require_in_child(simulate(SIGHUP) == simulation::not_handled);
        require_in_child(simulate(SIGUSR2) == simulation::not_handled && called == 0);
        {
            guard inner{on<SIGUSR2>(wake)};
            require_in_child(simulate(SIGUSR2) == simulation::handled);
        }
        require_in_child(simulate(SIGUSR2) == simulation::not_handled && called == 0);
    });
}

TEST_CASE("wake: the delivery is taken as if this process had sent it", "[simulate]") {
    in_child([] {
        guard signals{on<SIGUSR1, rt<2>>(wake)};
        require_in_child(!readable(signals.fd()));
        require_in_child(simulate(SIGUSR1) == simulation::handled);
        require_in_child(readable(signals.fd()));
        simulate(SIGUSR1);
        simulate(rt<2>);
        int seen = 0;
        for (delivery const& d : signals.take()) {
            require_in_child(d.code() == SI_USER && d.pid() == ::getpid() && d.uid() == ::getuid());
            if (d.signal() == SIGUSR1) seen += static_cast<int>(d.merged());
            if (d.signal() == rt<2>) seen += 10;
        }
        require_in_child(seen == 12 && !readable(signals.fd()));
    });
}

TEST_CASE("call, defer, in_handler and stop react as to a real signal", "[simulate]") {
    in_child([] {
        static std::atomic<int> called{0};
        static int in_handler_of = 0;
        int deferred = 0;
        guard signals{on<SIGUSR1>(call([] { ++called; })), on<SIGUSR2>(defer([&] { ++deferred; })),
                      on<SIGHUP>(in_handler([](delivery const& d) noexcept {
                          in_handler_of = d.context() == nullptr ? d.signal() : -1;
                      })),
                      on<SIGTERM>(request_stop)};
        require_in_child(simulate(SIGUSR1).result() == simulation::handled);
        while (called == 0) ::sched_yield();
        require_in_child(bool{simulate(SIGUSR2)} && signals.pending() && deferred == 0);
        require_in_child(signals.check() == 1 && deferred == 1);
        require_in_child(bool{simulate(SIGHUP)} && in_handler_of == SIGHUP);
        require_in_child(!signals.stop_requested() && bool{simulate(SIGTERM)} && signals.stop_requested());
    });
}

TEST_CASE("a second simulated stop takes the default disposition for real", "[simulate]") {
    auto subject = child::run([] {
        guard signals{on<SIGTERM>(request_stop)};
        simulate(SIGTERM);
        while (!signals.stop_token().stop_requested()) ::sched_yield();
        for (;;) simulate(SIGTERM);
    });
    CHECK(subject.wait().killed_by(SIGTERM));
}

TEST_CASE("chain calls the handler that was there, and default_disposition takes the default", "[simulate]") {
    static int volatile called = 0;
    in_child([] {
        struct sigaction action {};
        action.sa_flags = SA_SIGINFO;
        action.sa_sigaction = [](int signal, siginfo_t* info, void*) {
            called = signal == SIGUSR1 && info->si_code == SI_USER && info->si_pid == ::getpid() ? 1 : 2;
        };
        ::sigaction(SIGUSR1, &action, nullptr);
        guard signals{on<SIGUSR1>(chain)};
        require_in_child(simulate(SIGUSR1).result() == simulation::handled && called == 1);
    });
    auto subject = child::run([] {
        guard signals{on<SIGUSR1>(wake, default_disposition)};
        simulate(SIGUSR1);
        return 1;
    });
    CHECK(subject.wait().killed_by(SIGUSR1));
}

TEST_CASE("it works from a raw handler and from another thread, and on a thread that blocks the signal", "[simulate]") {
    in_child([] {
        guard signals{on<SIGUSR1>(wake)};
        static int volatile answer = -1;
        struct sigaction action {};
        action.sa_handler = [](int) { answer = simulate(SIGUSR1).result(); };
        ::sigaction(SIGUSR2, &action, nullptr);
        ::raise(SIGUSR2);
        require_in_child(answer == simulation::handled && readable(signals.fd()));
        for ([[maybe_unused]] delivery const& d : signals.take()) {
        }
        std::thread{[] {
            sigset_t all;
            ::sigfillset(&all);
            ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
            require_in_child(simulate(SIGUSR1) == simulation::handled);
        }}.join();
        require_in_child(readable(signals.fd()));
    });
}

TEST_CASE("errno, the mask and the floating-point environment are as before", "[simulate]") {
    in_child([] {
        guard signals{on<SIGUSR1>(in_handler([](delivery const&) noexcept {
            errno = ERANGE;
            ::fesetround(FE_UPWARD);
            ::feraiseexcept(FE_DIVBYZERO);
        }))};
        ::fesetround(FE_DOWNWARD);
        ::feclearexcept(FE_ALL_EXCEPT);
        std::uint64_t const mask = mask_now();
        errno = EAGAIN;
        simulate(SIGUSR1);
        require_in_child(errno == EAGAIN && mask == mask_now() && ::fegetround() == FE_DOWNWARD);
        require_in_child(::fetestexcept(FE_ALL_EXCEPT) == 0);
    });
}

TEST_CASE("reactions run with the mask of a handler: signals wait, faults do not", "[simulate]") {
    in_child([] {
        static std::uint64_t inside = 0;
        guard signals{on<SIGUSR1>(in_handler([](delivery const&) noexcept { inside = mask_now(); }))};
        simulate(SIGUSR1);
        std::uint64_t const simulated = inside;
        require_in_child((simulated >> (SIGTERM - 1) & 1) == 1);
        for (int const fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT})
            require_in_child((simulated >> (fault - 1) & 1) == 0);
        ::raise(SIGUSR1);
        require_in_child((inside & ((1U << 31) - 1)) == (simulated & ((1U << 31) - 1)));
    });
    auto subject = child::run([] {
        guard signals{on_crash(dump_threads), on<SIGUSR1>(in_handler([](delivery const&) noexcept {
                          write_null();
                      }))};
        simulate(SIGUSR1);
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(end.err.find("tocsin: end of report") != std::string::npos);
}

TEST_CASE("a real-time queue that is full refuses, as a real sender would be", "[simulate]") {
    in_child([] {
        guard signals{on<rt<2>>(wake)};
        std::size_t sent = 0;
        while (simulate(rt<2>) == simulation::handled) require_in_child(++sent < 1'000'000);
        require_in_child(simulate(rt<2>) == simulation::refused && sent > 0);
        std::size_t taken = 0;
        for ([[maybe_unused]] delivery const& d : signals.take()) ++taken;
        require_in_child(taken == sent);
        require_in_child(simulate(rt<2>) == simulation::handled);
    });
}

TEST_CASE("a report is written as for a real signal", "[simulate]") {
    auto subject = child::run([] {
        guard signals{on<SIGQUIT>(dump_threads)};
        simulate(SIGQUIT);
        test::wait_for_parent();
    });
    CHECK(subject.expect_error_line("tocsin: SIGQUIT sent by process " + std::to_string(subject.pid())));
    CHECK(subject.expect_error_line("tocsin: end of report, 2 threads"));
    subject.close_input();
    CHECK(subject.wait().exited(0));
}
