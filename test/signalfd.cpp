// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/guard.hpp>
#include <tocsin/signalfd.hpp>
#include <tocsin/wake.hpp>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

using namespace tocsin;
using namespace tocsin::test;

namespace {

template <class Signals>
std::vector<waited_signal> all_of(Signals const& signals) {
    std::vector<waited_signal> all;
    for (waited_signal const& each : signals.take()) all.push_back(each);
    return all;
}

int refused_signal(signal_set set) {
    try {
        signal_descriptor signals{set};
        return -1;
    } catch (error const& refused) {
        require_in_child(refused.code() == EINVAL);
        return refused.signal();
    }
}

}  // namespace

TEST_CASE("a signal is read with what the kernel says of it, and not delivered", "[signalfd]") {
    in_child([] {
        signal_descriptor<SIGUSR1, SIGTERM, SIGCHLD, rt<3>> signals;
        require_in_child(!readable(signals.fd()) && all_of(signals).empty());
        ::kill(::getpid(), SIGUSR1);
        require_in_child(readable(signals.fd()));
        pid_t const child = ::fork();
        if (child == 0) {
            queue_value(::getppid(), rt<3>, -7);
            ::_exit(9);
        }
        siginfo_t ended{};
        while (::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT) != 0) {
        }
        auto const got = all_of(signals);
        require_in_child(got.size() == 3);
        require_in_child(got[0].signal() == SIGUSR1 && got[0].code() == SI_USER && got[0].pid() == ::getpid());
        require_in_child(got[0].uid() == ::getuid() && got[0].value() == 0);
        require_in_child(got[1].signal() == SIGCHLD && got[1].code() == CLD_EXITED && got[1].status() == 9);
        require_in_child(got[1].pid() == child);
        require_in_child(got[2].signal() == rt<3> && got[2].code() == SI_QUEUE && got[2].value() == -7);
        require_in_child(got[2].pid() == child && got[2].info().si_uid == ::getuid());
        require_in_child(!readable(signals.fd()) && all_of(signals).empty());
    });
}

TEST_CASE("a timer's signal says which timer it was, and one of a descriptor which descriptor", "[signalfd]") {
    in_child([] {
        signal_descriptor<SIGUSR1, rt<1>> signals;
        sigevent how{};
        how.sigev_notify = SIGEV_SIGNAL;
        how.sigev_signo = SIGUSR1;
        int some = 0;
        how.sigev_value.sival_ptr = &some;
        timer_t timer{};
        require_in_child(::timer_create(CLOCK_MONOTONIC, &how, &timer) == 0);
        itimerspec soon{};
        soon.it_value.tv_nsec = 1;
        ::timer_settime(timer, 0, &soon, nullptr);
        wait_readable(signals.fd());
        auto got = all_of(signals);
        require_in_child(got.size() == 1 && got[0].code() == SI_TIMER && got[0].pointer() == &some);
        require_in_child(got[0].overrun() == 0);

        int both[2];
        require_in_child(::pipe(both) == 0);
        ::fcntl(both[0], F_SETOWN, ::getpid());
        ::fcntl(both[0], F_SETSIG, static_cast<int>(rt<1>));
        ::fcntl(both[0], F_SETFL, O_ASYNC | O_NONBLOCK);
        require_in_child(::write(both[1], "x", 1) == 1);
        wait_readable(signals.fd());
        got = all_of(signals);
        require_in_child(got.size() == 1 && got[0].fd() == both[0] && (got[0].events() & POLLIN) != 0);
    });
}

TEST_CASE("the mask that was there is back, and what nobody took is delivered", "[signalfd]") {
    in_child([] {
        static int volatile delivered = 0;
        struct sigaction const counts = make_action([](int) { delivered = delivered + 1; });
        ::sigaction(SIGUSR1, &counts, nullptr);
        block_signal(SIGUSR2);
        {
            signal_descriptor<SIGUSR1, SIGUSR2> signals;
            unsigned long long const blocked = status_mask(::getpid(), "SigBlk:");
            require_in_child(has_signal(blocked, SIGUSR1) && has_signal(blocked, SIGUSR2));
            ::raise(SIGUSR1);
            require_in_child(delivered == 0);
        }
        require_in_child(delivered == 1);
        unsigned long long const blocked = status_mask(::getpid(), "SigBlk:");
        require_in_child(!has_signal(blocked, SIGUSR1) && has_signal(blocked, SIGUSR2));
        require_in_child(action_of(SIGUSR2).sa_handler == SIG_DFL);
    });
}

TEST_CASE("the descriptor is closed by exec and at the end, and does not block", "[signalfd]") {
    in_child([] {
        auto const before = descriptors();
        {
            signal_descriptor<SIGUSR1> signals;
            require_in_child((::fcntl(signals.fd(), F_GETFD) & FD_CLOEXEC) != 0);
            require_in_child((::fcntl(signals.fd(), F_GETFL) & O_NONBLOCK) != 0);
        }
        require_in_child(descriptors() == before);
    });
}

TEST_CASE("a set that cannot be read is refused by its first member, with the mask as before", "[signalfd]") {
    in_child([] {
        unsigned long long const before = status_mask(::getpid(), "SigBlk:");
        require_in_child(refused_signal({SIGUSR1, SIGKILL}) == SIGKILL);
        require_in_child(refused_signal({SIGUSR1, SIGSTOP}) == SIGSTOP);
        require_in_child(refused_signal({SIGUSR1, SIGSEGV}) == SIGSEGV);
        require_in_child(refused_signal({SIGUSR1, 33}) == 33);
        require_in_child(refused_signal({}) == 0);
        rlimit none{};
        ::getrlimit(RLIMIT_NOFILE, &none);
        none.rlim_cur = 0;
        ::setrlimit(RLIMIT_NOFILE, &none);
        try {
            signal_descriptor<SIGUSR1> signals;
            require_in_child(false);
        } catch (error const& refused) {
            require_in_child(refused.code() == EMFILE);
        }
        none.rlim_cur = 64;
        ::setrlimit(RLIMIT_NOFILE, &none);
        require_in_child(status_mask(::getpid(), "SigBlk:") == before);
        signal_descriptor several{signal_set{SIGUSR1, rt<2>}};
        ::raise(SIGRTMIN + 2);
        require_in_child(all_of(several).size() == 1);
    });
}

TEST_CASE("a thread that has the signal open is found, and named with the signal", "[signalfd]") {
    in_child([] {
        std::atomic<int> step{0};
        std::atomic<pid_t> number{0};
        std::thread early{[&] {
            number.store(::gettid());
            step.store(1);
            until([&] { return step.load() == 2; });
        }};
        until([&] { return step.load() == 1; });
        {
            signal_descriptor<SIGUSR1, SIGUSR2> signals;
            std::thread late{[&] { until([&] { return step.load() == 2; }); }};
            require_in_child(signals.threads_with_it_open() == 1);
            int both[2];
            require_in_child(::pipe(both) == 0);
            require_in_child(signals.warn_of_open_threads(both[1]) == 1);
            char line[256]{};
            require_in_child(::read(both[0], line, sizeof line - 1) > 0);
            std::string const start = "tocsin: thread " + std::to_string(number.load()) + " has SIGUSR1 open: ";
            require_in_child(std::string{line}.rfind(start, 0) == 0);
            step.store(2);
            early.join();
            late.join();
            require_in_child(signals.threads_with_it_open() == 0);
        }
    });
}

TEST_CASE("a walk that is left early keeps the rest, and a flood does not hold it", "[signalfd]") {
    in_child([] {
        signal_descriptor<rt<1>> signals;
        int const sent = readable_signals::most + 10;
        for (int i = 0; i < sent; ++i) queue_value(::getpid(), rt<1>, i);
        int next = 0;
        for (waited_signal const& each : signals.take()) {
            require_in_child(each.value() == next++);
            break;
        }
        for (waited_signal const& each : signals.take()) require_in_child(each.value() == next++);
        require_in_child(next == 1 + readable_signals::most && readable(signals.fd()));
        for (waited_signal const& each : signals.take()) require_in_child(each.value() == next++);
        require_in_child(next == sent && !readable(signals.fd()));
    });
}

TEST_CASE("a forked child reads nothing before rearm(), and then its own signals", "[signalfd]") {
    in_child([] {
        signal_descriptor<SIGUSR1> signals;
        int const loop = ::epoll_create1(EPOLL_CLOEXEC);
        epoll_event interest{};
        interest.events = EPOLLIN;
        ::epoll_ctl(loop, EPOLL_CTL_ADD, signals.fd(), &interest);
        ::raise(SIGUSR1);
        require_fork([&] {
            require_in_child(all_of(signals).empty());
            signals.rearm();
            require_in_child(!readable(signals.fd()) && all_of(signals).empty());
            ::raise(SIGUSR1);
            require_in_child(readable(signals.fd()));
            auto const got = all_of(signals);
            require_in_child(got.size() == 1 && got[0].pid() == ::getpid());
            signals.rearm();
            require_in_child((::fcntl(signals.fd(), F_GETFD) & FD_CLOEXEC) != 0);
        });
        require_in_child(::epoll_wait(loop, &interest, 1, 0) == 1);
        require_in_child(all_of(signals).size() == 1);
    });
}

TEST_CASE("beside a guard on the same signal, the guard has what the descriptor's end lets go", "[signalfd]") {
    in_child([] {
        guard others{on<SIGUSR1>(wake)};
        {
            signal_descriptor<SIGUSR1> signals;
            ::raise(SIGUSR1);
            require_in_child(!readable(others.fd()) && all_of(signals).size() == 1);
            ::raise(SIGUSR1);
        }
        require_in_child(readable(others.fd()));
    });
}
