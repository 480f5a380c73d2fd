// SPDX-License-Identifier: MIT
#include <tocsin/posix/reserved.hpp>

#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/report_text.hpp"

using namespace tocsin;
using posix::reserved_claim;
using test::child;
using test::require_in_child;

namespace {

void (*handler_of(int number))(int) {
    struct sigaction now {};
    ::sigaction(number, nullptr, &now);
    return now.sa_handler;
}

in_signal::table& the_table() {
    in_signal::table* in = nullptr;
    require_in_child(!posix::find_table(in));
    return *in;
}

template <class F>
void in_child(F f) {
    auto subject = child::run(f);
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}

}  // namespace

TEST_CASE("the last real-time signal that nobody uses is taken", "[reserved]") {
    in_child([] {
        ::signal(SIGRTMAX - 1, SIG_IGN);
        auto& in = the_table();
        reserved_claim claim;
        require_in_child(!claim.open(in, in_signal::bit_of(SIGRTMAX - 2)));
        require_in_child(in.reserved_signal.load() == SIGRTMAX - 3 && handler_of(SIGRTMAX - 3) != SIG_DFL);
        claim.close(in);
        require_in_child(handler_of(SIGRTMAX - 3) == SIG_DFL && handler_of(SIGRTMAX - 1) == SIG_IGN);
    });
}

TEST_CASE("where all are taken it is an error", "[reserved]") {
    in_child([] {
        auto& in = the_table();
        for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) ::signal(number, SIG_IGN);
        reserved_claim claim;
        require_in_child(claim.open(in, 0).errno_code == EBUSY);
        claim.close(in);
    });
}

TEST_CASE("the disposition is given back with the last claim, in any order", "[reserved]") {
    in_child([] {
        auto& in = the_table();
        for (int order = 0; order < 2; ++order) {
            reserved_claim first;
            reserved_claim second;
            require_in_child(!first.open(in, 0) && !second.open(in, 0));
            int const number = in.reserved_signal.load();
            (order == 0 ? first : second).close(in);
            require_in_child(handler_of(number) != SIG_DFL && handler_of(number) != SIG_IGN);
            ::raise(number);  // and answered
            (order == 0 ? second : first).close(in);
            require_in_child(handler_of(number) == SIG_DFL);
        }
    });
}

TEST_CASE("what is still pending when the claim ends is gone, on every thread", "[reserved]") {
    in_child([] {
        auto& in = the_table();
        static std::atomic<int> thread{0};
        static std::atomic<bool> open{false};
        reserved_claim claim;
        require_in_child(!claim.open(in, 0));
        int const number = in.reserved_signal.load();
        std::thread deaf{[] {
            sigset_t set;
            ::sigfillset(&set);
            ::pthread_sigmask(SIG_SETMASK, &set, nullptr);
            thread = test::thread_id();
            test::until_set(open);
            ::sigemptyset(&set);
            ::pthread_sigmask(SIG_SETMASK, &set, nullptr);
        }};
        while (thread == 0) ::sched_yield();
        require_in_child(::syscall(SYS_tgkill, ::getpid(), thread.load(), number) == 0);
        claim.close(in);
        open = true;
        deaf.join();
    });
}

TEST_CASE("a handler that somebody has installed over ours stays", "[reserved]") {
    in_child([] {
        auto& in = the_table();
        reserved_claim claim;
        require_in_child(!claim.open(in, 0));
        int const number = in.reserved_signal.load();
        auto const foreign = [](int) {};
        ::signal(number, foreign);
        claim.close(in);
        require_in_child(handler_of(number) == foreign);
    });
}

TEST_CASE("a row that takes the reserved signal makes another one reserved, or is refused", "[reserved]") {
    in_child([] {
        static_assert(rt<29>.offset == 29);
        guard outer{on<rt<29>>(wake)};
        auto& in = the_table();
        require_in_child(in.reserved_signal.load() != rt<29> && in.reserved_signal.load() != 0);
        int ec = 0;
        guard inner{ec, on<rt<28>>(wake)};
        require_in_child(in.reserved_signal.load() != rt<28> || ec == EBUSY);
    });
}

TEST_CASE("a signal that was reserved is free again once nobody needs it", "[reserved]") {
    in_child([] {
        int number = 0;
        {
            guard signals{on<rt<3>>(wake)};
            number = the_table().reserved_signal.load();
            require_in_child(number == SIGRTMAX - 1);
        }
        guard signals{on<rt<29>>(wake)};
        require_in_child(rt<29> == number && the_table().reserved_signal.load() != number);
        ::raise(number);
        for (delivery const& d : signals.take()) require_in_child(d.signal() == number);
    });
}
