// SPDX-License-Identifier: MIT
#include <tocsin/block.hpp>

#include <pthread.h>
#include <signal.h>

#include <csignal>
#include <thread>

#include "support/catch.hpp"
#include "support/child.hpp"

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
