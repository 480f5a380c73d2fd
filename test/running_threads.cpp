// SPDX-License-Identifier: MIT
#include <tocsin/running_threads.hpp>

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <vector>

#include <tocsin/dump.hpp>
#include <tocsin/guard.hpp>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/report_text.hpp"

using namespace tocsin;
using namespace tocsin::test;

namespace {

bool has_stack() {
    stack_t now{};
    return ::sigaltstack(nullptr, &now) == 0 && (now.ss_flags & SS_DISABLE) == 0 && now.ss_size >= 32768;
}

int volatile one = 1;
[[gnu::noinline]] int too_deep(int n) {
    char volatile some[512];
    some[0] = static_cast<char>(n);
    return one != 0 ? too_deep(n + 1) + some[0] : 0;
}

// A thread that waits in a system call until it is told to go on, and then does something.
struct waiting_thread {
    void (*then)(waiting_thread&) = nullptr;
    bool blocks_all = false;
    bool spins = false;
    std::atomic<int> id{0};
    std::atomic<bool> go{false};
    bool had_stack = false;
    int ends[2] = {};
    pthread_t thread{};

    void start() {
        require_in_child(::pipe(ends) == 0);
        require_in_child(::pthread_create(&thread, nullptr, &run, this) == 0);
        until_set(id);
        if (!spins) until_asleep(id);
    }
    void finish() {
        go = true;
        require_in_child(::write(ends[1], "x", 1) == 1);
        ::pthread_join(thread, nullptr);
    }
    static void* run(void* given) {
        auto& self = *static_cast<waiting_thread*>(given);
        if (self.blocks_all) {
            sigset_t all;
            ::sigfillset(&all);
            ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
        }
        self.id = thread_id();
        char byte = 0;
        if (self.spins)
            until_set(self.go);
        else
            require_in_child(::read(self.ends[0], &byte, 1) == 1);  // restarted, not interrupted
        self.had_stack = has_stack();
        if (self.then != nullptr) self.then(self);
        return nullptr;
    }
};

std::vector<bool> default_dispositions() {
    std::vector<bool> all;
    for (int signal = SIGRTMIN; signal <= SIGRTMAX; ++signal) {
        struct sigaction live {};
        ::sigaction(signal, nullptr, &live);
        all.push_back(live.sa_handler == SIG_DFL);
    }
    return all;
}

}  // namespace

TEST_CASE("threads that wait and threads that run have an alternate stack afterwards, and keep it",
          "[running_threads]") {
    auto victim = child::run([] {
        std::vector<waiting_thread> threads(20);
        for (std::size_t i = 0; i < threads.size(); ++i) {
            threads[i].spins = i == 3;
            threads[i].start();
        }
        auto const before = default_dispositions();
        require_in_child(cover_running_threads() == 0);
        require_in_child(default_dispositions() == before);
        require_in_child(has_stack());
        for (auto& each : threads) each.finish();
        for (auto& each : threads) require_in_child(each.had_stack);
    });
    outcome const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}

TEST_CASE("the overflow of a thread that ran before is reported", "[running_threads]") {
    auto victim = child::run([] {
        waiting_thread worker;
        worker.then = [](waiting_thread&) { too_deep(0); };
        worker.start();
        guard signals{on_crash(dump_threads)};
        require_in_child(cover_running_threads() == 0);
        worker.finish();
    });
    outcome const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(end.err.find("stack overflow") != std::string::npos);
    CHECK(end.err.find("too_deep") != std::string::npos);
}

TEST_CASE("a thread that blocks every signal is counted, and no signal stays pending for it",
          "[running_threads]") {
    auto victim = child::run([] {
        waiting_thread deaf;
        deaf.blocks_all = true;
        deaf.then = [](waiting_thread&) {
            sigset_t none;
            ::sigemptyset(&none);
            ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
        };
        deaf.start();
        require_in_child(cover_running_threads() == 1);
        deaf.finish();
        require_in_child(!deaf.had_stack);
    });
    outcome const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}

TEST_CASE("a stack that a thread has is left to it, and a second time changes nothing", "[running_threads]") {
    auto victim = child::run([] {
        static char own[65536];
        waiting_thread first;
        waiting_thread second;
        second.then = [](waiting_thread& self) {
            stack_t wanted{};
            wanted.ss_sp = own;
            wanted.ss_size = sizeof own;
            ::sigaltstack(&wanted, nullptr);
            self.go = false;
            self.id = -1;
            until_set(self.go);
            ::sigaltstack(nullptr, &wanted);
            require_in_child(wanted.ss_sp == own);
        };
        first.start();
        second.start();
        require_in_child(::write(second.ends[1], "x", 1) == 1);
        while (second.id != -1) ::sched_yield();
        require_in_child(cover_running_threads() == 0);
        require_in_child(cover_running_threads() == 0);
        second.go = true;
        ::pthread_join(second.thread, nullptr);
        first.finish();
        require_in_child(first.had_stack);
    });
    outcome const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}
