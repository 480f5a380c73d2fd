// SPDX-License-Identifier: MIT
// Every system call that the library's other objects and functions make, refused and interrupted: see
// support/every_call.hpp.
#include <fcntl.h>

#include <atomic>
#include <string>

#include <tocsin/tocsin.hpp>

#include "support/every_call.hpp"

using namespace tocsin;
using namespace tocsin::test;

// --- Threads and masks ----------------------------------------------------------------------------------------------

TEST_CASE("thread_guard: every call refused and interrupted once", "[refused_objects]") {
    require_of_every_call([](life& at) {
        at.whole_life([] { return thread_guard{"a name"}; },
                      [](auto&) {
                          stack_t stack{};
                          ::sigaltstack(nullptr, &stack);
                          return (stack.ss_flags & SS_DISABLE) == 0;
                      });
    });
}

TEST_CASE("block and unblock: every call refused and interrupted once", "[refused_objects]") {
    require_of_every_call([](life& at) {
        at.whole_life([] { return block<SIGUSR1, SIGTERM>{}; },
                      [](auto&) {
                          unblock<SIGTERM> const inner;
                          ::raise(SIGUSR1);
                          return signal_set{SIGUSR1} == wait_for(signal_set{SIGUSR1}, 0s)->signal();
                      });
    });
}

TEST_CASE("waiting: every call refused and interrupted once", "[refused_objects]") {
    require_of_every_call([](life& at) {
        block<SIGUSR1> const here;
        ::raise(SIGUSR1);
        at.arm();
        auto const first = wait_for(signal_set{SIGUSR1}, 10ms);
        auto const second = wait_for(signal_set{SIGUSR1}, 1ms);
        at.disarm();
        at.works(first && first->signal() == SIGUSR1 && !second);
    });
}

TEST_CASE("without_sigpipe: every call refused and interrupted once", "[refused_objects]") {
    require_of_every_call([](life& at) {
        both_ends ends;
        ends.close(0);
        at.whole_life([] { return without_sigpipe{}; },
                      [&](auto&) { return ::write(ends[1], "x", 1) < 0 && errno == EPIPE; });
    }, {SYS_rt_sigtimedwait});  // that does not wait: it is not interrupted (kernel/signal.c, do_sigtimedwait)
}

TEST_CASE("process_defaults: every call refused and interrupted once", "[refused_objects]") {
    require_of_every_call([](life& at) {
        constexpr signal_set expected{SIGINT, SIGPIPE, SIGXFSZ};
        at.whole_life([] { return process_defaults{}; },
                      [&](auto& defaults) {
                          bool const both = (defaults.taken() | defaults.left_alone()) == expected;
                          if (!defaults.left_alone().empty()) return both;  // said, and so no surprise
                          ::raise(SIGPIPE);
                          ::raise(SIGINT);
                          return both && defaults.interrupted() == SIGINT;
                      });
    });
}

// --- Times ----------------------------------------------------------------------------------------------------------

TEST_CASE("deadline: every call refused and interrupted once", "[refused_objects]") {
    require_of_every_call([](life& at) { at.whole_life([] { return deadline{1h}; }); });
}

TEST_CASE("timer: every call refused and interrupted once", "[refused_objects]") {
    require_of_every_call([](life& at) {
        block<SIGUSR1> const here;
        at.whole_life([] { return timer{SIGUSR1, 1ms}; },
                      [](auto&) { return static_cast<bool>(wait_for(signal_set{SIGUSR1}, 2s)); });
    });
}

TEST_CASE("timer_descriptor: every call refused and interrupted once", "[refused_objects]") {
    require_of_every_call([](life& at) {
        at.whole_life([] { return timer_descriptor{1ms, 1ms}; },
                      [](auto& ticks) { return soon([&] { return readable(ticks.fd()); }); });
    });
}

TEST_CASE("interval_timer: every call refused and interrupted once", "[refused_objects]") {
    require_of_every_call([](life& at) {
        block<SIGALRM> const here;
        at.whole_life([] { return interval_timer<ITIMER_REAL>{1ms}; },
                      [](auto&) { return static_cast<bool>(wait_for(signal_set{SIGALRM}, 2s)); });
    });
}

TEST_CASE("alarm_guard: every call refused and interrupted once", "[refused_objects]") {
    require_of_every_call([](life& at) {
        at.whole_life([] { return alarm_guard{1h}; }, [](auto&) { return ::alarm(0) != 0; });
    });
}

// --- Others ---------------------------------------------------------------------------------------------------------

TEST_CASE("child_watch: every call refused and interrupted once", "[refused_objects]") {
    require_of_every_call([](life& at) {
        pid_t const made = ::fork();
        if (made == 0) ::_exit(3);
        siginfo_t ignored{};
        ::waitid(P_PID, static_cast<id_t>(made), &ignored, WEXITED | WNOWAIT);
        at.arm();
        {
            child_watch one{made};
            child_end const end = one.wait();
            at.works(end.code() == 3);
        }
        at.disarm();
    });
}

TEST_CASE("guarded: every call refused and interrupted once", "[refused_objects]") {
    require_of_every_call([](life& at) {
        int volatile* volatile nowhere = nullptr;
        at.arm();
        auto const value = guarded<SIGSEGV, SIGBUS>([] { return 42; });
        auto const fault = guarded<SIGSEGV, SIGBUS>([&] { return *nowhere; });
        at.disarm();
        at.works(value && *value == 42 && !fault);
    });
}
