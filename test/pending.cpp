// SPDX-License-Identifier: MIT
#include <tocsin/pending.hpp>

#include <pthread.h>

#include <thread>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/refuse_call.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using test::in_child;
using test::require_in_child;

TEST_CASE("nothing is pending until something is", "[pending]") {
    in_child([] {
        require_in_child(pending().empty() && !pending(signal_set{SIGUSR1}));
        require_in_child(pending_in_thread().empty() && pending_in_process().empty());
        test::block_signal(SIGUSR1);
        test::block_signal(SIGRTMIN + 3);
        ::raise(SIGUSR1);
        ::raise(SIGRTMIN + 3);
        require_in_child((pending() == signal_set{SIGUSR1, rt<3>}));
        require_in_child((pending(signal_set{rt<3>, SIGTERM}) == signal_set{rt<3>}));
        if (pending(signal_set{SIGUSR1}))
            test::say("is pending");
        else
            require_in_child(false);
    });
}

TEST_CASE("signals to the thread and to the process are told apart", "[pending]") {
    in_child([] {
        test::block_signal(SIGUSR1);
        test::block_signal(SIGUSR2);
        ::pthread_kill(::pthread_self(), SIGUSR1);
        ::kill(::getpid(), SIGUSR2);
        require_in_child((pending_in_thread() == signal_set{SIGUSR1}));
        require_in_child((pending_in_process() == signal_set{SIGUSR2}));
        require_in_child((pending() == signal_set{SIGUSR1, SIGUSR2}));
        require_in_child(pending_in_thread(signal_set{SIGUSR2}).empty());
        ::kill(::getpid(), SIGUSR1);
        require_in_child((pending_in_process() == signal_set{SIGUSR1, SIGUSR2}));
        require_in_child((pending_in_thread() == signal_set{SIGUSR1}));
        std::thread{[] {
            require_in_child(pending_in_thread().empty());
            require_in_child((pending_in_process() == signal_set{SIGUSR1, SIGUSR2}));
            require_in_child((pending() == signal_set{SIGUSR1, SIGUSR2}));
        }}.join();
    });
}

TEST_CASE("a set with a number that is no signal is refused", "[pending]") {
    for (auto* const ask : {static_cast<signal_set (*)(signal_set)>(&pending),
                            static_cast<signal_set (*)(signal_set)>(&pending_in_thread),
                            static_cast<signal_set (*)(signal_set)>(&pending_in_process)}) {
        int code = 0;
        int named = 0;
        try {
            static_cast<void>(ask(signal_set{SIGUSR1, 65}));
        } catch (error const& refused) {
            code = refused.code();
            named = refused.signal();
        }
        CHECK(code == EINVAL);
        CHECK(named == 65);
    }
}

TEST_CASE("without /proc the two kinds cannot be told apart, and the error says so", "[pending]") {
    in_child([] {
        test::refuse_call(SYS_openat, EACCES);
        int code = 0;
        try {
            static_cast<void>(pending_in_thread());
        } catch (error const& refused) {
            code = refused.code();
        }
        require_in_child(code == EACCES && pending().empty());
    });
}
