// SPDX-License-Identifier: MIT
// The stacks of other threads, without a guard around: with a table and a claim made by hand, in a child.
#include <tocsin/in_signal/capture.hpp>

#include <tocsin/posix/reporter.hpp>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/report_text.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using in_signal::stack;
using in_signal::stack_source;
using test::child;
using test::require_in_child;

namespace {

constexpr std::uint64_t second = 1'000'000'000;

std::atomic<int> worker{0};
unsigned long volatile steps = 0;

[[gnu::noinline]] void wait_here() {
    ::poll(nullptr, 0, -1);
    __asm__ volatile("");  // or the call is the function's last act, and the function not on the stack
}
[[gnu::noinline]] void run_here() {
    for (;;) steps = steps + 1;
}

void block_everything() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
}

// A process in which captures are answered.
struct setup {
    in_signal::table* in = nullptr;
    stack result{};

    setup() {
        require_in_child(!posix::find_table(in));
        require_in_child(!posix::provide_captures(*in));
    }
    in_signal::capture_desk& desk() { return in_signal::desk_of(*in)->captures; }
    stack_source take(int thread, std::uint64_t patience = 5 * second, std::uint32_t limit = 64) {
        in_signal::capture(*in, desk(), thread, limit, patience, result);
        return result.source;
    }
    // True if frame `number` lies in the function.
    bool in_function(std::size_t number, void (*function)()) const {
        auto const begin = reinterpret_cast<std::uintptr_t>(function);
        return number < result.walked.frames && result.frames[number].pc - begin < 64;
    }
    // True if the thread waits in a call that the function made: what is in front of its frame is the C library's.
    bool waits_in(void (*function)()) const {
        auto const library = in_signal::module_of(reinterpret_cast<std::uintptr_t>(&::poll));
        std::size_t number = 0;
        while (number < result.walked.frames && library.holds(result.frames[number].pc)) ++number;
        return number != 0 && in_function(number, function);
    }
    bool requests_are_free() {
        for (auto const& each : desk().requests)
            if (each.state.load() != in_signal::request_free) return false;
        return true;
    }
};

template <class F>
void start(F work, bool waits) {
    worker = 0;
    std::thread{[work] {
        worker = test::thread_id();
        work();
    }}.detach();
    while (worker == 0) ::sched_yield();
    if (waits) test::until_asleep(worker);
}

template <class F>
void in_child(F f) {
    auto subject = child::run([f] {
        f();
        ::_exit(0);
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}

}  // namespace

TEST_CASE("a waiting thread is read where it waits", "[capture]") {
    in_child([] {
        setup here;
        start(wait_here, true);
        require_in_child(here.take(worker) == stack_source::waiting);
        require_in_child(here.waits_in(wait_here));
        require_in_child(here.result.walked.ended == in_signal::ending::end_of_stack);
    });
}

TEST_CASE("a waiting thread is not sent the signal, even if that could not be answered", "[capture]") {
    in_child([] {
        in_signal::table* in = nullptr;
        require_in_child(!posix::find_table(in));
        require_in_child(!posix::provide_desk(*in));
        start(wait_here, true);
        auto result = std::make_unique<stack>();
        in_signal::capture(*in, in_signal::desk_of(*in)->captures, worker, 64, second, *result);
        require_in_child(result->source == stack_source::waiting);
    });
}

TEST_CASE("a running thread answers from where it runs", "[capture]") {
    in_child([] {
        setup here;
        start(run_here, false);
        for (int i = 0; i < 100; ++i) {
            // a thread that has not run yet may be seen waiting
            require_in_child(here.take(worker) <= stack_source::moved);
            if (here.result.source == stack_source::signalled) require_in_child(here.in_function(0, run_here));
        }
        require_in_child(here.result.source == stack_source::signalled && here.requests_are_free());
    });
}

TEST_CASE("no signal is sent while nobody would answer: it would be the end of the process", "[capture]") {
    in_child([] {
        in_signal::table* in = nullptr;
        require_in_child(!posix::find_table(in));
        require_in_child(!posix::provide_desk(*in));
        posix::reserved_claim claim;
        require_in_child(!claim.open(*in, 0));
        require_in_child(in_signal::is_answered(*in));
        claim.close(*in);
        require_in_child(!in_signal::is_answered(*in));
        start(run_here, false);
        auto result = std::make_unique<stack>();
        in_signal::capture(*in, in_signal::desk_of(*in)->captures, worker, 64, second, *result);
        require_in_child(result->source == stack_source::refused || result->source <= stack_source::moved);
    });
}

TEST_CASE("a running thread that blocks the signal is given up in time, and is not sent it", "[capture]") {
    in_child([] {
        setup here;
        static std::atomic<bool> deaf{false};
        start([] {
            block_everything();
            deaf = true;
            run_here();
        }, false);
        test::until_set(deaf);
        std::uint64_t const begin = in_signal::monotonic();
        require_in_child(here.take(worker, second / 10) == stack_source::blocked);
        require_in_child(in_signal::monotonic() - begin < second);
        std::string const status = test::contents_of("/proc/self/task/" + std::to_string(worker) + "/status");
        require_in_child(status.find("SigPnd:\t0000000000000000") != std::string::npos && here.requests_are_free());
    });
}

TEST_CASE("a thread that blocks the signal for a moment only is waited for", "[capture]") {
    in_child([] {
        setup here;
        static std::atomic<bool> deaf{false};
        static std::atomic<bool> open{false};
        start([] {
            sigset_t before;
            ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
            block_everything();
            deaf = true;
            test::until_set(open);
            ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
            run_here();
        }, false);
        test::until_set(deaf);
        int const thread = worker;
        std::thread opener{[thread] {
            // once it has been looked at, or a little later
            for (int i = 0; i < 100; ++i) (void)in_signal::blocks(thread, SIGRTMAX - 1);
            open = true;
        }};
        require_in_child(here.take(thread, 10 * second) == stack_source::signalled);
        opener.join();
    });
}

TEST_CASE("a thread that has ended is known to have, before and while it is asked", "[capture]") {
    in_child([] {
        setup here;
        std::thread ended{[] { worker = test::thread_id(); }};
        ended.join();
        std::uint64_t const begin = in_signal::monotonic();
        require_in_child(here.take(worker) == stack_source::gone);
        require_in_child(in_signal::monotonic() - begin < second);
        for (int i = 0; i < 300; ++i) {  // some of them end in the middle
            std::atomic<bool> end{false};
            std::thread running{[&] {
                worker = test::thread_id();
                while (!end) {
                }
            }};
            int const thread = worker.exchange(0);
            end = true;
            if (thread != 0) here.take(thread);
            running.join();
        }
        require_in_child(here.requests_are_free());
    });
}

TEST_CASE("a main thread that has ended is gone, and not waited for", "[capture]") {
    in_child([] {
        std::thread{[] {
            setup here;
            while (!in_signal::has_ended(::getpid())) ::sched_yield();
            std::uint64_t const begin = in_signal::monotonic();
            require_in_child(here.take(::getpid()) == stack_source::gone);
            require_in_child(in_signal::monotonic() - begin < second);
            ::_exit(0);
        }}.detach();
        ::syscall(SYS_exit, 0);
    });
}

TEST_CASE("no more frames are stored than were asked for, the others are counted", "[capture]") {
    in_child([] {
        setup here;
        start(wait_here, true);
        here.take(worker);
        std::size_t const all = here.result.walked.frames;
        here.take(worker, second, 2);
        require_in_child(here.result.walked.frames == 2 && here.result.walked.omitted == all - 2);
        start(run_here, false);
        do require_in_child(here.take(worker, second, 1) <= stack_source::moved);
        while (here.result.source != stack_source::signalled);
        require_in_child(here.result.walked.frames == 1 && here.result.walked.omitted > 0);
    });
}

TEST_CASE("an answer that comes too late finds its place taken away, and the next request is not harmed", "[capture]") {
    in_child([] {
        setup here;
        auto& request = here.desk().requests[0];
        auto const& answer = here.desk().answers[0];
        int const number = here.in->reserved_signal.load();
        request.thread.store(test::thread_id());
        ::raise(number);  // nothing was asked
        require_in_child(request.state.load() == in_signal::request_free && answer.walked.frames == 0);
        request.limit = 8;
        request.state.store(in_signal::request_asked);
        request.thread.store(1);
        ::raise(number);  // another thread was asked
        require_in_child(request.state.load() == in_signal::request_asked);
        request.thread.store(test::thread_id());
        ::raise(number);
        require_in_child(request.state.load() == in_signal::request_answered && answer.walked.frames > 1);
        int const finds_it_first = in_signal::capture_requests;
        require_in_child(in_signal::free_request(here.desk(), finds_it_first) != &request);  // to be collected
        request.thread.store(0);
        require_in_child(in_signal::free_request(here.desk(), finds_it_first) == &request);  // nobody came to fetch it
    });
}

namespace {

// Asks a thread, whatever it does, and does not wait.
bool ask(setup& here, int thread, std::uint64_t deadline) {
    here.result.walked = {};
    return in_signal::ask_for_stack(*here.in, here.desk(), thread, 64, deadline, here.result) != nullptr;
}

std::atomic<unsigned> deaf_threads{0};

void run_deaf() {
    block_everything();
    ++deaf_threads;
    run_here();
}

}  // namespace

TEST_CASE("threads that are asked together answer each with its own stack", "[capture]") {
    in_child([] {
        setup here;
        int running[3];
        for (int& each : running) {
            start(run_here, false);
            each = worker;
        }
        for (int turn = 0; turn < 50; ++turn) {
            for (int const each : running) require_in_child(ask(here, each, in_signal::monotonic() + 10 * second));
            require_in_child(here.desk().asked == 3);
            unsigned seen = 0;
            in_signal::collect_all(here.desk(), 0, here.result, [&](int thread) {
                for (unsigned i = 0; i < 3; ++i) seen |= (thread == running[i] ? 1U : 0U) << i;
                require_in_child(here.result.source == stack_source::signalled);
                if (turn > 0) require_in_child(here.in_function(0, run_here));  // or on the way there
            });
            require_in_child(seen == 7 && here.desk().asked == 0 && here.requests_are_free());
        }
    });
}

TEST_CASE("threads that are asked together and do not answer take their time once", "[capture]") {
    in_child([] {
        setup here;
        constexpr unsigned count = 12;
        std::uint64_t const time = second / 5;
        int deaf[count];
        for (int& each : deaf) {
            start(run_deaf, false);
            each = worker;
        }
        test::until([] { return deaf_threads == count; });
        std::uint64_t const begin = in_signal::monotonic();
        for (int const each : deaf) require_in_child(ask(here, each, begin + time));
        unsigned silent = 0;
        in_signal::collect_all(here.desk(), 0, here.result, [&](int) {
            if (here.result.source == stack_source::no_answer && here.result.walked.frames == 0) ++silent;
        });
        std::uint64_t const taken = in_signal::monotonic() - begin;
        require_in_child(silent == count && here.requests_are_free());
        require_in_child(taken >= time && taken < count * time);
    });
}

TEST_CASE("what was seen of a thread before it was asked is there if it does not answer", "[capture]") {
    in_child([] {
        setup here;
        start(run_deaf, false);
        test::until([] { return deaf_threads == 1; });
        here.result.walked = {};
        here.result.walked.frames = 2;
        here.result.frames[1].pc = 4711;
        auto* const asked = in_signal::ask_for_stack(*here.in, here.desk(), worker, 64, 0, here.result);
        require_in_child(asked != nullptr);
        here.result.frames[1].pc = 0;  // by the stacks of other threads
        in_signal::collect(here.desk(), *asked, here.result);
        require_in_child(here.result.source == stack_source::moved && here.result.walked.frames == 2);
        require_in_child(here.result.frames[1].pc == 4711);
    });
}

TEST_CASE("who does not come to an end with its answer is given up and keeps its place", "[capture]") {
    in_child([] {
        setup here;
        start(run_deaf, false);
        test::until([] { return deaf_threads == 1; });
        auto* const asked = in_signal::ask_for_stack(*here.in, here.desk(), worker, 64, 0, here.result);
        require_in_child(asked != nullptr);
        asked->state.store(in_signal::request_answering);
        in_signal::collect(here.desk(), *asked, here.result);
        require_in_child(here.result.source == stack_source::no_answer && here.result.walked.frames == 0);
        require_in_child(in_signal::free_request(here.desk(), worker) != asked);
        in_signal::forget_requests(here.desk());
        require_in_child(in_signal::free_request(here.desk(), worker) != asked);
        asked->state.store(in_signal::request_answered);
        require_in_child(in_signal::free_request(here.desk(), worker) == asked);
    });
}

TEST_CASE("where the kernel's queue is full the reason is told", "[capture]") {
    in_child([] {
        if (::geteuid() == 0) require_in_child(::setuid(65534) == 0);  // root's queue has no end
        setup here;
        start(run_here, false);
        rlimit const none{0, 0};
        ::setrlimit(RLIMIT_SIGPENDING, &none);
        stack_source const source = here.take(worker, second / 10);
        require_in_child(source == stack_source::refused || source <= stack_source::moved);
    });
}
