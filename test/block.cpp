// SPDX-License-Identifier: MIT
#include <tocsin/block.hpp>

#include <pthread.h>
#include <signal.h>

#include <csignal>
#include <thread>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/refuse_call.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using test::child;
using test::require_in_child;

namespace {

bool blocked(int signal) {
    sigset_t now;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
    return ::sigismember(&now, signal) == 1;
}

int volatile arrived = 0;

void count(int) { arrived = arrived + 1; }

void count_signal(int signal) {
    struct sigaction action {};
    action.sa_handler = count;
    ::sigaction(signal, &action, nullptr);
}

}  // namespace

TEST_CASE("signals are blocked for the scope, and no others", "[block]") {
    CHECK_FALSE(blocked(SIGUSR1));
    {
        block<SIGUSR1, rt<3>> here;
        CHECK(blocked(SIGUSR1));
        CHECK(blocked(SIGRTMIN + 3));
        CHECK_FALSE(blocked(SIGUSR2));
        CHECK_FALSE(blocked(SIGRTMIN + 4));
    }
    CHECK_FALSE(blocked(SIGUSR1));
    CHECK_FALSE(blocked(SIGRTMIN + 3));
}

TEST_CASE("blocks nest: the inner one gives back what the outer one had", "[block]") {
    block<SIGUSR1> outer;
    {
        block<SIGUSR1, SIGUSR2> inner;
        CHECK(blocked(SIGUSR1));
        CHECK(blocked(SIGUSR2));
    }
    CHECK(blocked(SIGUSR1));
    CHECK_FALSE(blocked(SIGUSR2));
}

TEST_CASE("a signal that was blocked before stays blocked after", "[block]") {
    sigset_t one;
    ::sigemptyset(&one);
    ::sigaddset(&one, SIGUSR1);
    ::pthread_sigmask(SIG_BLOCK, &one, nullptr);
    { block<SIGUSR1> here; }
    CHECK(blocked(SIGUSR1));
    ::pthread_sigmask(SIG_UNBLOCK, &one, nullptr);
}

TEST_CASE("what arrives meanwhile is delivered afterwards, a standard signal once", "[block]") {
    auto subject = child::run([] {
        count_signal(SIGUSR1);
        count_signal(SIGRTMIN + 3);
        {
            block<SIGUSR1> here;
            ::raise(SIGUSR1);
            ::raise(SIGUSR1);
            require_in_child(arrived == 0);
        }
        require_in_child(arrived == 1);
        {
            block<rt<3>> here;
            for (int i = 0; i < 3; ++i) ::raise(SIGRTMIN + 3);
            require_in_child(arrived == 1);
        }
        require_in_child(arrived == 4);
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}

TEST_CASE("only the calling thread is concerned, and threads that it starts meanwhile", "[block]") {
    block<SIGUSR1> here;
    bool inherited = false;
    std::thread{[&] { inherited = blocked(SIGUSR1); }}.join();
    CHECK(inherited);
    bool of_another = true;
    std::thread{[&] {
        sigset_t none;
        ::sigemptyset(&none);
        ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
        { block<SIGUSR2> mine; }
        of_another = blocked(SIGUSR1) || blocked(SIGUSR2);
    }}.join();
    CHECK_FALSE(of_another);
    CHECK(blocked(SIGUSR1));
}

TEST_CASE("sets that are known at run time are blocked, and nothing else", "[block]") {
    signal_set const wanted{SIGUSR1, SIGRTMIN + 3};
    {
        block here{wanted};
        for (int const signal : valid_signals()) CHECK(blocked(signal) == wanted.contains(signal));
    }
    {
        block here{signal_set{}};
        for (int const signal : valid_signals()) CHECK_FALSE(blocked(signal));
    }
    {
        block here{blockable_signals};
        for (int const signal : valid_signals()) CHECK(blocked(signal) == blockable_signals.contains(signal));
    }
    for (int const signal : valid_signals()) CHECK_FALSE(blocked(signal));
}

TEST_CASE("a set that cannot be blocked is refused by name, and the mask is as before", "[block]") {
    struct refusal {
        signal_set set;
        int named;
    };
    auto const given =
        GENERATE(refusal{{SIGUSR1, SIGSEGV}, SIGSEGV}, refusal{{SIGUSR1, SIGKILL}, SIGKILL},
                 refusal{{SIGUSR1, SIGSTOP}, SIGSTOP}, refusal{{SIGUSR1, 32}, 32}, refusal{{SIGUSR1, 0}, 0},
                 refusal{{-5, SIGUSR1}, -5}, refusal{signal_set{SIGUSR1} | reserved_signals(), 32});
    int code = 0;
    int named = -1;
    try {
        block here{given.set};
    } catch (error const& refused) {
        code = refused.code();
        named = refused.signal();
    }
    CHECK(code == EINVAL);
    CHECK(named == given.named);
    CHECK_FALSE(blocked(SIGUSR1));
}

TEST_CASE("faults are blocked if somebody asks for it in words", "[block]") {
    {
        block<SIGSEGV, SIGUSR1> here{even_faults};
        CHECK(blocked(SIGSEGV));
        CHECK(blocked(SIGUSR1));
    }
    {
        block here{crash_signals, even_faults};
        for (int const signal : valid_signals()) CHECK(blocked(signal) == is_fault(signal));
    }
    CHECK_FALSE(blocked(SIGSEGV));
    CHECK_THROWS_AS((block{uncatchable_signals, even_faults}), error);
}

TEST_CASE("unblock opens signals for the scope and closes them again", "[block]") {
    block<SIGUSR1, SIGUSR2, rt<1>> around;
    {
        unblock<SIGUSR1, rt<1>> here;
        CHECK_FALSE(blocked(SIGUSR1));
        CHECK_FALSE(blocked(SIGRTMIN + 1));
        CHECK(blocked(SIGUSR2));
        {
            block<SIGUSR1> inner;
            CHECK(blocked(SIGUSR1));
        }
        CHECK_FALSE(blocked(SIGUSR1));
    }
    CHECK(blocked(SIGUSR1));
    {
        unblock here{signal_set{SIGUSR2, SIGHUP}};
        CHECK_FALSE(blocked(SIGUSR2));
        CHECK_FALSE(blocked(SIGHUP));
        CHECK(blocked(SIGUSR1));
    }
    CHECK(blocked(SIGUSR2));
    CHECK_FALSE(blocked(SIGHUP));
    CHECK_THROWS_AS(unblock(signal_set{33}), error);
    CHECK(blocked(SIGUSR2));
}

TEST_CASE("what is pending is delivered before unblock returns", "[block]") {
    test::in_child([] {
        count_signal(SIGUSR1);
        block<SIGUSR1> around;
        ::raise(SIGUSR1);
        require_in_child(arrived == 0);
        unblock<SIGUSR1> here;
        require_in_child(arrived == 1);
    });
}

TEST_CASE("a block that is destroyed by another thread ends the process, and says why", "[block]") {
    auto subject = child::run([] {
        auto* const here = new block<SIGUSR1>;
        std::thread{[&] { delete here; }}.join();
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGABRT));
    CHECK(end.err.find("tocsin: a signal mask was changed by one thread and is put back by another") !=
          std::string::npos);
}

TEST_CASE("a forked child destroys its copy of a block", "[block]") {
    test::in_child([] {
        auto* const here = new block<SIGUSR1>;
        test::require_fork([&] {
            require_in_child(blocked(SIGUSR1));
            delete here;
            require_in_child(!blocked(SIGUSR1));
        });
        delete here;
    });
}

TEST_CASE("a mask that a filter refuses is an error", "[block]") {
    test::in_child([] {
        test::refuse_call(SYS_rt_sigprocmask, EPERM);
        int code = 0;
        try {
            block<SIGUSR1> here;
        } catch (error const& refused) {
            code = refused.code();
        }
        require_in_child(code == EPERM);
    });
}
