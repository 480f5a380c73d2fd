// SPDX-License-Identifier: MIT
// What CPython's signal module and its C interface do, row by row: A are dispositions and handlers, B masks, waits and
// timers, C what the C interface adds. One short test each; the files of the headers have the rest.
#include "support/signals.hpp"

#include <tocsin/alarm_guard.hpp>
#include <tocsin/block.hpp>
#include <tocsin/chain.hpp>
#include <tocsin/check_every.hpp>
#include <tocsin/child_reset.hpp>
#include <tocsin/children.hpp>
#include <tocsin/defer.hpp>
#include <tocsin/die_by.hpp>
#include <tocsin/fatal.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/interval_timer.hpp>
#include <tocsin/pending.hpp>
#include <tocsin/process_defaults.hpp>
#include <tocsin/query.hpp>
#include <tocsin/retry.hpp>
#include <tocsin/send.hpp>
#include <tocsin/signalfd.hpp>
#include <tocsin/sigpipe.hpp>
#include <tocsin/simulate.hpp>
#include <tocsin/throw_as.hpp>
#include <tocsin/timer.hpp>
#include <tocsin/wait.hpp>
#include <tocsin/wake.hpp>
#include <tocsin/wakeup_fd.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/time.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>
#include <vector>

using namespace tocsin;
using namespace tocsin::test;
using namespace std::chrono_literals;

namespace {

in_signal::atomic<int> foreign_calls;
void foreign(int) { foreign_calls.fetch_add(1); }

struct pipe_ends {
    int reader = -1;
    int writer = -1;
    explicit pipe_ends(int flags = 0) {
        int both[2];
        require_in_child(::pipe2(both, O_CLOEXEC | flags) == 0);
        reader = both[0];
        writer = both[1];
    }
};

// An errno that f throws; 0 if it throws none.
template <class F>
int refusal_of(F f) {
    try {
        f();
        return 0;
    } catch (error const& refused) {
        return refused.code();
    }
}

template <class Guard>
std::vector<int> taken_by(Guard& signals) {
    std::vector<int> all;
    for (delivery const& d : signals.take()) all.push_back(d.signal());
    return all;
}

bool sleeps(pid_t thread) {
    std::string const path = "/proc/self/task/" + std::to_string(thread) + "/stat";
    std::FILE* const file = std::fopen(path.c_str(), "r");
    char text[256]{};
    bool const read = file != nullptr && std::fgets(text, sizeof text, file) != nullptr;
    if (file != nullptr) std::fclose(file);
    return read && std::string{text}.find(") S") != std::string::npos;
}

}  // namespace

TEST_CASE("A1 a guard gives back the whole disposition, and refuses what cannot be caught", "[parity]") {
    in_child([] {
        struct sigaction before = make_action(&foreign, SA_RESTART | SA_NODEFER);
        ::sigaddset(&before.sa_mask, SIGHUP);
        ::sigaction(SIGUSR1, &before, nullptr);
        before = action_of(SIGUSR1);
        {
            guard signals{on<SIGUSR1>(wake)};
            require_in_child(!same_action(action_of(SIGUSR1), before));
        }
        require_in_child(same_action(action_of(SIGUSR1), before));
        for (int const number : {0, 32, 33, 65, -1}) {
            require_in_child(!can_be_caught(number) && refusal_of([&] { query(number); }) == EINVAL);
        }
    });
}

TEST_CASE("A2 the kernel is asked for the disposition, each time", "[parity]") {
    in_child([] {
        require_in_child(query<SIGUSR1>().owner() == disposition_owner::by_default);
        struct sigaction const theirs = make_action(&foreign, SA_RESTART);
        ::sigaction(SIGUSR1, &theirs, nullptr);
        live_disposition const found = query(SIGUSR1);
        require_in_child(found.owner() == disposition_owner::foreign && found.restarts());
        require_in_child(found.address() == reinterpret_cast<void*>(&foreign));
        guard signals{on<SIGUSR1>(wake)};
        require_in_child(query<SIGUSR1>().owner() == disposition_owner::ours);
        ::signal(SIGUSR1, SIG_IGN);
        require_in_child(query<SIGUSR1>().owner() == disposition_owner::ignored);
    });
}

TEST_CASE("A3 SIGPIPE and SIGXFSZ are ignored, SIGINT taken unless it was inherited ignored", "[parity]") {
    in_child([] {
        {
            process_defaults here;
            ::raise(SIGPIPE);
            ::raise(SIGXFSZ);
            ::raise(SIGINT);
            require_in_child(here.interrupted() == SIGINT);
        }
        require_in_child(query<SIGPIPE>().owner() == disposition_owner::by_default);
        ::signal(SIGINT, SIG_IGN);
        process_defaults here;
        here.clear();
        ::raise(SIGINT);
        require_in_child(here.interrupted() == 0 && query<SIGINT>().owner() == disposition_owner::ignored);
    });
}

TEST_CASE("A4 what was there before comes back, in whatever order guards end", "[parity]") {
    in_child([] {
        struct sigaction const theirs = make_action(&foreign);
        ::sigaction(SIGUSR1, &theirs, nullptr);
        using guard_type = decltype(guard{on<SIGUSR1>(wake)});
        std::optional<guard_type> older{std::in_place, on<SIGUSR1>(wake)};
        std::optional<guard_type> newer{std::in_place, on<SIGUSR1>(wake)};
        older.reset();
        ::raise(SIGUSR1);
        require_in_child(taken_by(*newer).size() == 1);
        newer.reset();
        ::raise(SIGUSR1);
        require_in_child(action_of(SIGUSR1).sa_handler == &foreign && foreign_calls.load() == 1);
    });
}

TEST_CASE("A5 a child starts its program with clean signals", "[parity]") {
    in_child([] {
        process_defaults here;
        block<SIGUSR1> meanwhile;
        require_fork([] {
            require_in_child(child_reset() == 0);
            require_in_child(status_mask(::getpid(), "SigBlk:") == 0 && status_mask(::getpid(), "SigCgt:") == 0);
            require_in_child(status_mask(::getpid(), "SigIgn:") == 0);
        });
        char program[] = "grep";
        char quiet[] = "-qE";
        char file[] = "/proc/self/status";
        // libc leaves those ignored that it keeps for itself, 32 and 33
        for (std::string clean : {"^SigBlk:.0+$", "^SigIgn:.0{7}[01][08]0{7}$"}) {
            char* const words[] = {program, quiet, clean.data(), file, nullptr};
            spawn_attributes attributes;
            pid_t made = 0;
            require_in_child(::posix_spawnp(&made, program, nullptr, attributes.native(), words, environ) == 0);
            require_in_child(child_watch{made}.wait().code() == 0);
        }
    });
}

TEST_CASE("A6 a handler stays, and one signal only is a word", "[parity]") {
    in_child([] {
        guard signals{on<SIGUSR1>(wake), on<SIGCHLD>(wake).once()};
        for (int i = 0; i < 3; ++i) {
            ::raise(SIGUSR1);
            ::raise(SIGCHLD);
            require_in_child(taken_by(signals).size() == (i == 0 ? 2 : 1));
        }
    });
}

TEST_CASE("A7 whoever is woken finds the record, with the count and the details", "[parity]") {
    in_child([] {
        guard signals{on<SIGUSR1>(wake)};
        std::atomic<int> answered{0};
        constexpr int rounds = 2000;
        std::thread sender{[&] {
            for (int i = 1; i <= rounds; ++i) {
                ::raise(SIGUSR1);
                until([&] { return answered.load() == i; });
            }
        }};
        for (int i = 1; i <= rounds; ++i) {
            wait_readable(signals.fd());
            require_in_child(taken_by(signals) == std::vector<int>{SIGUSR1});
            answered.store(i);
        }
        sender.join();
        for (int i = 0; i < 3; ++i) queue_value(::getpid(), SIGUSR1, i + 5);
        for (delivery const& d : signals.take()) require_in_child(d.merged() == 3 && d.value() == 5);
    });
}

TEST_CASE("A8 check() runs ascending signals, and each queued one for itself", "[parity]") {
    in_child([] {
        std::vector<int> seen;
        auto const note = [&](delivery const& d) { seen.push_back(d.signal() == SIGUSR1 ? -1 : d.value()); };
        guard signals{on<rt<2>>(defer(note)), on<SIGUSR1>(defer(note))};
        for (int i = 0; i < 5; ++i) queue_value(::getpid(), rt<2>, i);
        ::raise(SIGUSR1);
        ::raise(SIGUSR1);
        require_in_child(seen.empty() && signals.pending() && signals.check() == 6);
        require_in_child(seen == std::vector<int>{-1, 0, 1, 2, 3, 4});
    });
}

TEST_CASE("A9 an exception leaves check(), and the rest stays pending", "[parity]") {
    in_child([] {
        int ran = 0;
        guard signals{on<SIGHUP>(defer([&] { ++ran; })), on<SIGUSR1>(throw_as<>),
                      on<SIGUSR2>(defer([&] { ++ran; }))};
        for (int const each : {SIGHUP, SIGUSR1, SIGUSR2}) ::raise(each);
        bool caught = false;
        try {
            signals.check();
        } catch (interrupted const& by) {
            caught = by.by().signal() == SIGUSR1;
        }
        require_in_child(caught && ran == 1 && signals.pending());
        require_in_child(signals.check() == 1 && ran == 2);
    });
}

TEST_CASE("A10 a deferred reaction is not entered again while it runs", "[parity]") {
    in_child([] {
        int depth = 0;
        int deepest = 0;
        int runs = 0;
        std::size_t (*check_again)(void*) = nullptr;
        void* signals_of_it = nullptr;
        guard signals{on<SIGUSR1>(defer([&] {
            deepest = std::max(deepest, ++depth);
            if (++runs < 5) ::raise(SIGUSR1);
            check_again(signals_of_it);
            --depth;
        }))};
        signals_of_it = &signals;
        check_again = [](void* of) { return static_cast<decltype(signals)*>(of)->check(); };
        ::raise(SIGUSR1);
        while (signals.pending()) signals.check();
        require_in_child(runs == 5 && deepest == 1);
    });
}

TEST_CASE("A11 the owner may be any thread, and is woken from a system call", "[parity]") {
    in_child([] {
        guard signals{on<SIGUSR1>(defer([] {})).interrupting()};
        std::atomic<pid_t> owner{0};
        std::thread other{[&] {
            auto const mine = signals.own();
            pipe_ends never;
            char byte;
            owner.store(::gettid());
            require_in_child(::read(never.reader, &byte, 1) == -1 && errno == EINTR);
            require_in_child(signals.check() == 1);
        }};
        until([&] { return owner.load() != 0 && sleeps(owner.load()); });
        ::raise(SIGUSR1);  // on this thread
        other.join();
    });
}

TEST_CASE("A12 the parent sees a death by the signal", "[parity]") {
    auto process = child::run([] {
        guard signals{on<SIGINT>(throw_keyboard_interrupt)};
        ::raise(SIGINT);
        try {
            signals.check();
        } catch (keyboard_interrupt const&) {
            die_by(SIGINT);
        }
    });
    CHECK(process.wait().killed_by(SIGINT));
}

TEST_CASE("A13 a signal to oneself, with a value; 0 only asks", "[parity]") {
    in_child([] {
        int value = 0;
        guard signals{on<SIGUSR1, rt<0>>(defer([&](delivery const& d) { value = d.value(); }))};
        send_signal(::getpid(), 0);
        require_in_child(!signals.pending());
        send_value(::getpid(), rt<0>, 17);
        require_in_child(signals.check() == 1 && value == 17);
        require_in_child(refusal_of([] { send_signal(::getpid(), 65); }) == EINVAL);
        require_in_child(refusal_of([] { send_signal(::getpid(), -1); }) == EINVAL);
    });
}

TEST_CASE("A14 a thread that has ended is no target, and never another one", "[parity]") {
    in_child([] {
        static in_signal::atomic<int> taken_on;
        guard signals{on<SIGUSR1>(in_handler([](delivery const&) noexcept { taken_on.store(in_signal::gettid()); }))};
        std::atomic<int> step{0};
        std::optional<thread_ref> other;
        std::thread made{[&] {
            other.emplace(thread_ref::current());
            step.store(1);
            until([&] { return taken_on.load() != 0; });
            require_in_child(taken_on.load() == ::gettid());
        }};
        until([&] { return step.load() == 1; });
        send_signal(*other, SIGUSR1);
        made.join();
        require_in_child(refusal_of([&] { send_signal(*other, SIGUSR1); }) == ESRCH);
    });
}

TEST_CASE("A15 a process by its descriptor, with siginfo", "[parity]") {
    in_child([] {
        block<SIGUSR1> here;
        pid_t const made = ::fork();
        if (made == 0) {
            auto const got = wait_for(signal_set{SIGUSR1}, 20s);
            ::_exit(got ? got->value() : 99);
        }
        process_ref const process{made};
        send_value(process, SIGUSR1, 7);
        require_in_child(child_watch{made}.wait().code() == 7);
        require_in_child(refusal_of([&] { send_signal(process, SIGUSR1); }) == ESRCH);
        pipe_ends no_process;
        require_in_child(refusal_of([&] { send_signal(pidfd_view{no_process.reader}, SIGUSR1); }) == EBADF);
    });
}

TEST_CASE("A16 names and descriptions, and back", "[parity]") {
    static_assert(name(SIGTERM) == "SIGTERM" && !describe(SIGTERM).empty());
    CHECK(name(rt<3>) == "SIGRTMIN+3");
    CHECK(name(0).empty());
    CHECK(name(65).empty());
    for (char const* const text : {"SIGTERM", "TERM", "15"}) CHECK(*parse(text) == SIGTERM);
    CHECK(*parse("RTMIN+3") == rt<3>);
    CHECK(!parse("SIGNONE"));
    for (int const each : valid_signals()) CHECK(*parse(name(each).c_str()) == each);
}

TEST_CASE("A17 the valid signals are 1 to 31, and SIGRTMIN to SIGRTMAX", "[parity]") {
    sigset_t all;
    ::sigfillset(&all);
    CHECK(valid_signals() == signal_set{all});
    CHECK(valid_signals().contains(SIGRTMAX));
    CHECK((valid_signals() & reserved_signals()).empty());
}

TEST_CASE("A18 constants, aliases, and real-time signals by their distance", "[parity]") {
    CHECK(*parse("CLD") == SIGCHLD);
    CHECK(*parse("IOT") == SIGABRT);
    CHECK(*parse("POLL") == SIGIO);
    CHECK(static_cast<int>(rt<3>) == SIGRTMIN + 3);
    static_assert(set_of<SIGUSR1, rt<3>>().contains(SIGUSR1));
}

TEST_CASE("A19 a wait for a handler misses none that came before it", "[parity]") {
    in_child([] {
        guard signals{on<SIGUSR1>(wake)};
        block<SIGUSR1> here;
        ::raise(SIGUSR1);
        wait_handler(signal_set{SIGUSR1});
        require_in_child(taken_by(signals).size() == 1);
        require_in_child(!wait_handler_for(signal_set{SIGUSR1}, 1ms));
    });
}

TEST_CASE("A20 to interrupt or to restart is a word of the row", "[parity]") {
    in_child([] {
        {
            guard signals{on<SIGUSR1>(wake)};
            require_in_child(query<SIGUSR1>().restarts());
        }
        guard signals{on<SIGUSR1>(wake).interrupting()};
        require_in_child(!query<SIGUSR1>().restarts());
        pipe_ends never;
        thread_ref const reader = thread_ref::current();
        std::thread other{[&] {
            until([&] { return sleeps(reader.id()); });
            send_signal(reader, SIGUSR1);
        }};
        char byte;
        require_in_child(::read(never.reader, &byte, 1) == -1 && errno == EINTR);
        other.join();
    });
}

TEST_CASE("A21 a child is reaped by its descriptor, and nobody's status is stolen", "[parity]") {
    in_child([] {
        guard signals{on<SIGCHLD>(wake).without_stops()};
        pid_t const others = ::fork();
        if (others == 0) ::_exit(3);
        pid_t const mine = ::fork();
        if (mine == 0) ::_exit(4);
        child_watch watch{mine};
        while (!watch.is_reaped()) {
            wait_readable(watch.fd());
            taken_by(signals);
            watch.reap();
        }
        require_in_child(watch.reap().code() == 4);
        int status = 0;
        require_in_child(::waitpid(others, &status, 0) == others && WEXITSTATUS(status) == 3);
    });
}

TEST_CASE("A22 a call is made again after a signal, and its deadline stays", "[parity]") {
    in_child([] {
        static_assert(never_restarts("poll") && never_restarts("epoll_wait"));
        int ran = 0;
        guard signals{on<SIGUSR1>(defer([&] { ++ran; })), on<SIGALRM>(defer([] {}))};
        interval_timer<ITIMER_REAL> ticks{2ms, 2ms};
        ::raise(SIGUSR1);
        auto const begin = std::chrono::steady_clock::now();
        pipe_ends never;
        int const result = retry(signals, 50ms, [&](time_left left) {
            pollfd asked{never.reader, POLLIN, 0};
            return ::poll(&asked, 1, poll_timeout(left));
        });
        auto const took = std::chrono::steady_clock::now() - begin;
        require_in_child(result == 0 && ran == 1 && took >= 50ms && took < 10s);
    });
}

TEST_CASE("A23 a write without a reader says EPIPE, for a scope of one thread", "[parity]") {
    in_child([] {
        pipe_ends ends;
        ::close(ends.reader);
        {
            without_sigpipe here;
            require_in_child(::write(ends.writer, "x", 1) == -1 && errno == EPIPE && here.suppressed());
        }
        require_in_child(query<SIGPIPE>().owner() == disposition_owner::by_default);
        require_in_child(pending(signal_set{SIGPIPE}).empty());
    });
}

TEST_CASE("A24 a forked child has nothing pending, and does not wake its parent", "[parity]") {
    in_child([] {
        guard signals{on<SIGUSR1>(wake), on<SIGUSR2>(defer([] {}))};
        ::raise(SIGUSR2);
        require_fork([&] {
            signals.rearm();
            require_in_child(signals.check() == 0);
            ::raise(SIGUSR1);
            require_in_child(taken_by(signals).size() == 1);
        });
        require_fork([&] { ::raise(SIGUSR1); });
        require_in_child(!readable(signals.fd()) && signals.check() == 1);
    });
}

TEST_CASE("A25 an event source for any loop: many on one signal, and the true previous action back", "[parity]") {
    in_child([] {
        struct sigaction const theirs = make_action(&foreign);
        ::sigaction(SIGUSR1, &theirs, nullptr);
        int calls = 0;
        {
            guard first{on<SIGUSR1>(wake, defer([&] { ++calls; }), defer([&] { ++calls; }))};
            std::thread elsewhere{[&] {
                guard second{on<SIGUSR1>(wake, chain)};
                ::raise(SIGUSR1);
                require_in_child(readable(second.fd()) && readable(first.fd()));
            }};
            elsewhere.join();
            require_in_child(first.check() != 0 && calls == 2);
            ::signal(SIGUSR1, SIG_DFL);  // as Asio, libuv and GLib leave it
            require_in_child(first.check_ownership() == signal_set{SIGUSR1});
            require_in_child(first.reinstall() == signal_set{SIGUSR1} && first.check_ownership().empty());
            ::raise(SIGUSR1);
            require_in_child(readable(first.fd()));
        }
        ::raise(SIGUSR1);
        require_in_child(foreign_calls.load() == 1);
    });
}

TEST_CASE("B1 a thread's mask for a scope", "[parity]") {
    in_child([] {
        guard signals{on<SIGUSR1>(wake)};
        {
            block<SIGUSR1> outer;
            ::raise(SIGUSR1);
            {
                unblock<SIGUSR1> inner;
                require_in_child(taken_by(signals).size() == 1);
            }
            std::thread{[] { require_in_child(has_signal(status_mask(::getpid(), "SigBlk:"), SIGUSR1)); }}.join();
        }
        require_in_child(!has_signal(status_mask(::getpid(), "SigBlk:"), SIGUSR1));
        require_in_child(refusal_of([] { block here{signal_set{SIGKILL}}; }) == EINVAL);
        require_in_child(refusal_of([] { block here{signal_set{SIGSEGV}}; }) == EINVAL);
        require_in_child(refusal_of([] { block here{signal_set{65}}; }) == EINVAL);
    });
}

TEST_CASE("B2 what is pending, by thread and by process", "[parity]") {
    in_child([] {
        block<SIGUSR1, SIGUSR2> here;
        require_in_child(pending().empty());
        ::kill(::getpid(), SIGUSR1);
        send_signal(thread_ref::current(), SIGUSR2);
        require_in_child(pending() == signal_set{SIGUSR1, SIGUSR2});
        require_in_child(pending_in_process() == signal_set{SIGUSR1});
        require_in_child(pending_in_thread() == signal_set{SIGUSR2});
        wait(signal_set{SIGUSR1});
        wait(signal_set{SIGUSR2});
    });
}

TEST_CASE("B3 a wait returns the signal, and no handler runs", "[parity]") {
    in_child([] {
        guard signals{on<SIGUSR1>(wake)};
        block<SIGUSR1> here;
        ::raise(SIGUSR1);
        require_in_child(wait(signal_set{SIGUSR1}).signal() == SIGUSR1);
        require_in_child(!readable(signals.fd()));
    });
}

TEST_CASE("B4 a wait returns all that the kernel says", "[parity]") {
    in_child([] {
        block<rt<1>> here;
        send_value(::getpid(), rt<1>, 5);
        waited_signal const got = wait(signal_set{rt<1>});
        require_in_child(got.code() == SI_QUEUE && got.pid() == ::getpid() && got.uid() == ::getuid());
        require_in_child(got.value() == 5 && got.info().si_errno == 0);
    });
}

TEST_CASE("B5 a wait with a deadline returns a signal or nothing, never garbage", "[parity]") {
    in_child([] {
        guard others{on<SIGALRM>(wake)};
        block<SIGUSR1> here;
        interval_timer<ITIMER_REAL> ticks{1ms, 1ms};
        auto const begin = std::chrono::steady_clock::now();
        auto const got = wait_for(signal_set{SIGUSR1}, 30ms);
        require_in_child(!got && got->signal() == 0);
        require_in_child(std::chrono::steady_clock::now() - begin >= 30ms);
        require_in_child(!wait_for(signal_set{SIGUSR1}, 0s));
        require_in_child(refusal_of([] { wait_for(signal_set{SIGUSR1}, -1s); }) == EINVAL);
        ::raise(SIGUSR1);
        require_in_child(wait_until(signal_set{SIGUSR1}, std::chrono::system_clock::now())->signal() == SIGUSR1);
    });
}

TEST_CASE("B6 an alarm for a scope, and the one before goes on", "[parity]") {
    in_child([] {
        ::alarm(100);
        {
            alarm_guard limit{50s};
            require_in_child(refusal_of([] { alarm_guard bad{-1s}; }) == EINVAL);
        }
        unsigned const left = ::alarm(0);
        require_in_child(left > 90 && left <= 100);
    });
}

TEST_CASE("B7 interval timers, and as many others as are wanted", "[parity]") {
    in_child([] {
        guard signals{on<SIGALRM>(wake)};
        {
            interval_timer<ITIMER_REAL> tiny{std::chrono::nanoseconds{1}};  // rounded up: 0 would be never
            wait_readable(signals.fd());
        }
        itimerval left{};
        ::getitimer(ITIMER_REAL, &left);
        require_in_child(left.it_value.tv_sec == 0 && left.it_value.tv_usec == 0);
        require_in_child(refusal_of([] { interval_timer<ITIMER_REAL> bad{-1s}; }) == EINVAL);
    });
}

TEST_CASE("B8 a byte for each signal into the program's descriptor, and the one before is back", "[parity]") {
    in_child([] {
        pipe_ends first{O_NONBLOCK};
        pipe_ends second{O_NONBLOCK};
        pipe_ends blocking;
        require_in_child(refusal_of([] { wakeup_fd bytes{900}; }) == EBADF);
        require_in_child(refusal_of([&] { wakeup_fd bytes{blocking.writer}; }) == EINVAL);
        wakeup_fd bytes{first.writer};
        guard signals{on<SIGUSR1>(wake_byte(bytes))};
        {
            wakeup_fd::instead other{bytes, second.writer};
            ::raise(SIGUSR1);
        }
        char byte = 0;
        require_in_child(::read(first.reader, &byte, 1) == -1 && ::read(second.reader, &byte, 1) == 1);
        while (bytes.full() == 0) ::raise(SIGUSR1);
        require_in_child(::read(first.reader, &byte, 1) == 1 && byte == SIGUSR1);
        require_in_child(bytes.take_refused() == signal_set{SIGUSR1});
    });
}

TEST_CASE("B9 a signalfd with the mask in the same object", "[parity]") {
    in_child([] {
        {
            signal_descriptor<SIGUSR1> signals;
            require_in_child(signals.threads_with_it_open() == 0);
            ::raise(SIGUSR1);
            require_in_child(readable(signals.fd()));
            for (waited_signal const& each : signals.take()) require_in_child(each.signal() == SIGUSR1);
        }
        require_in_child(!has_signal(status_mask(::getpid(), "SigBlk:"), SIGUSR1));
        require_in_child(refusal_of([] { signal_descriptor bad{signal_set{SIGSEGV}}; }) == EINVAL);
    });
}

TEST_CASE("C1 pending() is one load, check() says what ran, and a hot loop asks a clock", "[parity]") {
    in_child([] {
        int ran = 0;
        guard signals{on<SIGUSR1>(defer([&] { ++ran; }))};
        require_in_child(!signals.pending() && signals.check() == 0);
        ::raise(SIGUSR1);
        require_in_child(signals.pending() && signals.check() == 1 && ran == 1);
        check_every hot{signals, 1h};
        ::raise(SIGUSR1);
        require_in_child(hot() == 1);
        ::raise(SIGUSR1);
        require_in_child(hot() == 0 && hot.now() == 1 && ran == 3);
    });
}

TEST_CASE("C2 a simulated signal arrives as a real one; where nobody claims it, that is said", "[parity]") {
    in_child([] {
        guard signals{on<SIGUSR1>(wake)};
        require_in_child(simulate(SIGUSR1) == simulation::handled && taken_by(signals).size() == 1);
        require_in_child(simulate(SIGUSR2) == simulation::not_handled);
        require_in_child(simulate(0) == simulation::invalid && simulate(65) == simulation::invalid);
    });
}

TEST_CASE("C3 an interrupt is a simulated SIGINT", "[parity]") {
    in_child([] {
        guard signals{on<SIGINT>(throw_keyboard_interrupt)};
        std::thread{[] { require_in_child(static_cast<bool>(simulate(SIGINT))); }}.join();
        bool caught = false;
        try {
            signals.check();
        } catch (keyboard_interrupt const&) {
            caught = true;
        }
        require_in_child(caught);
    });
}

TEST_CASE("C4 a wakeup descriptor that blocks is taken if one says so", "[parity]") {
    in_child([] {
        pipe_ends blocking;
        wakeup_fd bytes{blocking.writer, even_blocking};
        guard signals{on<SIGUSR1>(wake_byte(bytes))};
        while (bytes.full() == 0) ::raise(SIGUSR1);
        wakeup_fd::instead nowhere{bytes};
        ::raise(SIGUSR1);
        require_in_child(bytes.full() == 1);
    });
}

TEST_CASE("C5 a pending signal is taken without its reaction, with the last details", "[parity]") {
    in_child([] {
        int ran = 0;
        guard signals{on<SIGINT, rt<1>>(defer([&] { ++ran; }))};
        require_in_child(signals.consume(SIGINT).signal() == 0);
        ::raise(SIGINT);
        for (int i = 1; i <= 3; ++i) queue_value(::getpid(), rt<1>, i);
        require_in_child(signals.consume(SIGINT).signal() == SIGINT);
        delivery const last = signals.consume(rt<1>);
        require_in_child(last.value() == 3 && last.merged() == 3);
        require_in_child(signals.check() == 0 && ran == 0);
    });
}

TEST_CASE("C6 a disposition as the kernel has it, and code in the handler itself", "[parity]") {
    in_child([] {
        static in_signal::atomic<int> seen;
        guard signals{on<SIGUSR1>(in_handler([](delivery const& d) noexcept { seen.store(d.context() != nullptr); }))};
        ::raise(SIGUSR1);
        require_in_child(seen.load() == 1 && (query<SIGUSR1>().flags() & SA_SIGINFO) != 0);
        require_in_child(!query<SIGUSR1>().mask().contains(SIGSEGV) && query<SIGUSR1>().mask().contains(SIGTERM));
    });
}

TEST_CASE("C7 a signal whose row went away before it was dispatched is reported", "[parity]") {
    in_child([] {
        int orphan = 0;
        {
            guard signals{on<SIGUSR1>(defer([] {}).on_orphaned([&](delivery const& d) { orphan = d.signal(); }))};
            ::raise(SIGUSR1);
        }
        require_in_child(orphan == SIGUSR1);
    });
}

TEST_CASE("C8 fatal ends the process with its message and a report, on any thread", "[parity]") {
    auto process = child::run([] { std::thread{[] { fatal("the state is broken"); }}.join(); });
    auto const& ended = process.wait();
    INFO(ended.describe());
    CHECK(ended.killed_by(SIGABRT));
    CHECK(ended.err.find("fatal: the state is broken") != std::string::npos);
    CHECK(ended.err.find("end of report") != std::string::npos);
}
