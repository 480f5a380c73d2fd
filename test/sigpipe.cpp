// SPDX-License-Identifier: MIT
#include <tocsin/sigpipe.hpp>

#include <pthread.h>
#include <sys/socket.h>

#include <cerrno>
#include <thread>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using test::child;
using test::in_child;
using test::require_in_child;

namespace {

volatile sig_atomic_t arrivals = 0;
volatile sig_atomic_t last_code = 0;
volatile sig_atomic_t last_sender = 0;

void count() {
    auto const action = test::make_action([](int, siginfo_t* info, void*) {
        arrivals = arrivals + 1;
        last_code = info->si_code;
        last_sender = info->si_pid;
    });
    ::sigaction(SIGPIPE, &action, nullptr);
}

int broken_pipe() {
    int ends[2];
    require_in_child(::pipe(ends) == 0);
    ::close(ends[0]);
    return ends[1];
}

bool fails_with_epipe(int fd) { return ::write(fd, "x", 1) == -1 && errno == EPIPE; }

bool is_pending() {
    sigset_t now;
    ::sigpending(&now);
    return ::sigismember(&now, SIGPIPE) == 1;
}

}  // namespace

TEST_CASE("a write into a broken pipe or socket only fails", "[sigpipe]") {
    in_child([] {
        int const pipe = broken_pipe();
        int sockets[2];
        require_in_child(::socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
        ::close(sockets[0]);
        {
            without_sigpipe here;
            require_in_child(!here.suppressed());
            require_in_child(fails_with_epipe(pipe) && here.suppressed());
            require_in_child(fails_with_epipe(sockets[1]) && fails_with_epipe(pipe));
        }
        require_in_child(!is_pending());
        require_in_child(test::action_of(SIGPIPE).sa_handler == SIG_DFL);
    });
}

TEST_CASE("afterwards a write kills as before", "[sigpipe]") {
    auto subject = child::run([] {
        int const pipe = broken_pipe();
        {
            without_sigpipe here;
            require_in_child(fails_with_epipe(pipe));
        }
        require_in_child(!fails_with_epipe(pipe));
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGPIPE));
}

TEST_CASE("only the calling thread is concerned", "[sigpipe]") {
    auto subject = child::run([] {
        int const pipe = broken_pipe();
        sigset_t none;
        ::sigemptyset(&none);
        without_sigpipe here;
        std::thread{[&] {
            ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
            ::write(pipe, "x", 1) < 0 ? void() : void();
        }}.join();
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGPIPE));
}

TEST_CASE("scopes nest", "[sigpipe]") {
    in_child([] {
        count();
        int const pipe = broken_pipe();
        {
            without_sigpipe outer;
            {
                without_sigpipe inner;
                require_in_child(fails_with_epipe(pipe));
            }
            require_in_child(!is_pending() && fails_with_epipe(pipe));
            {
                without_sigpipe inner;
                require_in_child(fails_with_epipe(pipe) && !inner.suppressed());
            }
            require_in_child(is_pending());
        }
        require_in_child(!is_pending() && arrivals == 0);
    });
}

TEST_CASE("another process's signal is delivered afterwards, with its sender", "[sigpipe]") {
    in_child([] {
        count();
        int const pipe = broken_pipe();
        for (bool const in_main : {true, false}) {
            arrivals = 0;
            pid_t sender = 0;
            auto const scope = [&] {
                {
                    without_sigpipe here;
                    test::require_fork([&] { ::kill(::getppid(), SIGPIPE); });
                    require_in_child(fails_with_epipe(pipe) && arrivals == 0);
                }
                sender = last_sender;
                require_in_child(arrivals == 1);
            };
            if (in_main) {
                scope();
                require_in_child(last_code == SI_USER && sender != ::getpid());
            } else {
                // or the main thread would have it delivered meanwhile
                test::block_signal(SIGPIPE);
                std::thread{[&] {
                    test::block_signal(SIGPIPE, SIG_UNBLOCK);
                    scope();
                }}.join();
                test::block_signal(SIGPIPE, SIG_UNBLOCK);
            }
        }
    });
}

TEST_CASE("a foreign signal without a write is delivered afterwards", "[sigpipe]") {
    in_child([] {
        count();
        {
            without_sigpipe here;
            test::require_fork([&] { test::queue_value(::getppid(), SIGPIPE, 5); });
            require_in_child(arrivals == 0);
        }
        require_in_child(arrivals == 1 && last_code == SI_QUEUE && last_sender != ::getpid());
        {
            without_sigpipe here;
            ::pthread_kill(::pthread_self(), SIGPIPE);
        }
        require_in_child(arrivals == 2 && last_code == SI_TKILL);
    });
}

TEST_CASE("a foreign signal that another thread took by mistake goes back to the process", "[sigpipe]") {
    in_child([] {
        count();
        test::block_signal(SIGPIPE);  // or the main thread would have it delivered meanwhile
        std::thread{[] {
            without_sigpipe here;
            test::require_fork([] { ::kill(::getppid(), SIGPIPE); });
        }}.join();
        require_in_child(arrivals == 0 && is_pending());
        test::block_signal(SIGPIPE, SIG_UNBLOCK);
        require_in_child(arrivals == 1);
    });
}

TEST_CASE("one that was blocked and pending before stays so", "[sigpipe]") {
    in_child([] {
        count();
        int const pipe = broken_pipe();
        test::block_signal(SIGPIPE);
        ::raise(SIGPIPE);
        {
            without_sigpipe here;
            require_in_child(fails_with_epipe(pipe) && !here.suppressed());
        }
        require_in_child(is_pending() && arrivals == 0);
        test::block_signal(SIGPIPE, SIG_UNBLOCK);
        require_in_child(arrivals == 1);
    });
}
