// SPDX-License-Identifier: MIT
#include <tocsin/process_defaults.hpp>

#include <sys/resource.h>

#include <cerrno>
#include <cstdlib>

#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using test::action_of;
using test::child;
using test::in_child;
using test::require_in_child;

TEST_CASE("writes into a broken pipe and beyond the size limit fail, and do not kill", "[process_defaults]") {
    in_child([] {
        process_defaults here;
        int ends[2];
        require_in_child(::pipe(ends) == 0);
        ::close(ends[0]);
        require_in_child(::write(ends[1], "x", 1) == -1 && errno == EPIPE);
        rlimit const limit{1, 1};
        char path[] = "/tmp/tocsin-XXXXXX";
        int const fd = ::mkstemp(path);
        ::unlink(path);
        ::setrlimit(RLIMIT_FSIZE, &limit);
        require_in_child(::write(fd, "xx", 2) == 1);
        require_in_child(::write(fd, "xx", 2) == -1 && errno == EFBIG);
        require_in_child((here.taken() == signal_set{SIGPIPE, SIGXFSZ, SIGINT}));
    });
}

TEST_CASE("the first SIGINT asks to end, the second one ends", "[process_defaults]") {
    auto subject = child::run([] {
        process_defaults here;
        require_in_child(here.interrupted() == 0);
        ::raise(SIGINT);
        require_in_child(here.interrupted() == SIGINT);
        test::say("asked");
        ::raise(SIGINT);
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGINT));
    CHECK(end.out == "asked\n");
}

TEST_CASE("an inherited ignore is respected", "[process_defaults]") {
    in_child([] {
        ::signal(SIGINT, SIG_IGN);
        ::signal(SIGHUP, SIG_IGN);
        ::signal(SIGPIPE, SIG_IGN);
        process_defaults here{termination_signals};
        require_in_child((here.left_alone() == signal_set{SIGINT, SIGHUP, SIGPIPE}));
        require_in_child((here.taken() == signal_set{SIGTERM, SIGQUIT, SIGXFSZ}));
        ::raise(SIGINT);
        require_in_child(here.interrupted() == 0);
        ::raise(SIGTERM);
        require_in_child(here.interrupted() == SIGTERM);
        here.clear();
        require_in_child(here.interrupted() == 0);
        ::raise(SIGTERM);
        require_in_child(here.interrupted() == SIGTERM);
    });
}

TEST_CASE("somebody's handler stays, before and after", "[process_defaults]") {
    in_child([] {
        auto const theirs = test::make_action([](int) {});
        ::sigaction(SIGINT, &theirs, nullptr);
        {
            process_defaults here;
            require_in_child(here.left_alone() == signal_set{SIGINT});
            require_in_child(action_of(SIGINT).sa_handler == theirs.sa_handler);
            ::sigaction(SIGPIPE, &theirs, nullptr);
        }
        require_in_child(action_of(SIGINT).sa_handler == theirs.sa_handler);
        require_in_child(action_of(SIGPIPE).sa_handler == theirs.sa_handler);
        require_in_child(action_of(SIGXFSZ).sa_handler == SIG_DFL);
    });
}

TEST_CASE("a guard's row wins while it lives", "[process_defaults]") {
    in_child([] {
        process_defaults here;
        {
            guard signals{on<SIGINT>(in_handler([](delivery const&) noexcept {}))};
            ::raise(SIGINT);
            ::raise(SIGINT);
            require_in_child(here.interrupted() == 0);
        }
        ::raise(SIGINT);
        require_in_child(here.interrupted() == SIGINT);
    });
}

TEST_CASE("executed programs start with the defaults", "[process_defaults]") {
    auto subject = child::run([] {
        process_defaults here;
        ::execlp("grep", "grep", "SigIgn", "/proc/self/status", nullptr);
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.out == "SigIgn:\t0000000000000000\n");
}

TEST_CASE("what cannot ask to end is refused, with nothing changed", "[process_defaults]") {
    for (int const number : {SIGSEGV, SIGKILL, SIGSTOP, 65, 0}) {
        int named = -1;
        try {
            process_defaults here{signal_set{SIGUSR1, number}};
        } catch (error const& refused) {
            named = refused.signal();
        }
        CHECK(named == number);
        CHECK(action_of(SIGUSR1).sa_handler == SIG_DFL);
    }
}

TEST_CASE("what was taken is default again afterwards", "[process_defaults]") {
    in_child([] {
        {
            process_defaults here{signal_set{}};
            require_in_child((here.taken() == signal_set{SIGPIPE, SIGXFSZ}));
            require_in_child(action_of(SIGINT).sa_handler == SIG_DFL);
        }
        {
            process_defaults here;
            ::raise(SIGINT);
        }
        for (int const signal : {SIGPIPE, SIGXFSZ, SIGINT})
            require_in_child(action_of(signal).sa_handler == SIG_DFL);
        process_defaults again;
        require_in_child(again.interrupted() == 0);
    });
}
