// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/chain.hpp>
#include <tocsin/defer.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/wake.hpp>

#include <sys/mman.h>

#include <csetjmp>

using namespace tocsin;
using namespace tocsin::test;

namespace {

struct {
    volatile sig_atomic_t calls;
    int signal;
    int value;
    pid_t sender;
    bool context;
    sigset_t mask;
    int previous_calls;
} found;

void foreign(int number) {
    found.calls = found.calls + 1;
    found.signal = number;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &found.mask);
}
void foreign_with_info(int number, siginfo_t* info, void* context) {
    foreign(number);
    found.value = info->si_value.sival_int;
    found.sender = info->si_pid;
    found.context = context != nullptr;
}

auto const note = [](delivery const&) noexcept { found.previous_calls = found.calls; };
volatile sig_atomic_t steps;

}  // namespace

TEST_CASE("chain calls what was there before, afterwards, with the original siginfo and context", "[chain]") {
    in_child([] {
        auto const before = make_action(&foreign_with_info);
        ::sigaction(SIGUSR1, &before, nullptr);
        guard signals{on<SIGUSR1>(chain, in_handler(note))};
        found.previous_calls = -1;
        queue_value(::getpid(), SIGUSR1, 31);
        require_in_child(found.calls == 1 && found.signal == SIGUSR1 && found.previous_calls == 0);
        require_in_child(found.value == 31 && found.sender == ::getpid() && found.context);
    });
}

TEST_CASE("a chained handler with one parameter is called", "[chain]") {
    in_child([] {
        ::signal(SIGUSR1, &foreign);
        guard signals{on<SIGUSR1>(chain)};
        ::raise(SIGUSR1);
        ::raise(SIGUSR1);
        require_in_child(found.calls == 2 && found.signal == SIGUSR1);
    });
}

TEST_CASE("a chained handler runs with its own mask", "[chain]") {
    bool const nodefer = GENERATE(false, true);
    in_child([nodefer] {
        auto before = make_action(&foreign, nodefer ? SA_NODEFER : 0);
        ::sigaddset(&before.sa_mask, SIGUSR2);
        ::sigaction(SIGUSR1, &before, nullptr);
        block_signal(SIGWINCH);
        guard signals{on<SIGUSR1>(chain)};
        ::raise(SIGUSR1);
        for (int number = 1; number <= 31; ++number) {
            bool const expected = number == SIGUSR2 || number == SIGWINCH || (number == SIGUSR1 && !nodefer);
            require_in_child((::sigismember(&found.mask, number) == 1) == expected);
        }
        sigset_t now;
        ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
        require_in_child(::sigismember(&now, SIGUSR2) == 0 && ::sigismember(&now, SIGWINCH) == 1);
    });
}

TEST_CASE("a chained handler that resets itself is called once, and the default follows", "[chain]") {
    in_child([] {
        auto const before = make_action(&foreign, static_cast<int>(SA_RESETHAND));
        ::sigaction(SIGUSR1, &before, nullptr);
        guard signals{on<SIGUSR1>(chain)};
        ::raise(SIGUSR1);
        ::raise(SIGUSR1);
        require_in_child(found.calls == 1);
    });
}

TEST_CASE("a chained signal that was ignored stays ignored", "[chain]") {
    in_child([] {
        ::signal(SIGTERM, SIG_IGN);
        guard signals{on<SIGTERM>(wake, chain.or_default())};
        ::raise(SIGTERM);
        require_in_child(readable(signals.fd()));
    });
}

TEST_CASE("a default that was there is not taken", "[chain]") {
    in_child([] {
        guard signals{on<SIGTERM>(wake, chain)};
        ::raise(SIGTERM);
        ::raise(SIGTERM);
        require_in_child(readable(signals.fd()));
    });
}

TEST_CASE("a default that was there is taken with or_default", "[chain]") {
    auto process = child::run([] {
        guard signals{on<SIGTERM>(in_handler([](delivery const&) noexcept { in_signal::write(1, "handled\n", 8); }),
                                  chain.or_default())};
        ::raise(SIGTERM);
        say("never");
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.killed_by(SIGTERM));
    CHECK(result.out == "handled\n");
}

TEST_CASE("a default of a fault is taken", "[chain]") {
    auto process = child::run([] {
        guard signals{on_crash<SIGSEGV>(chain)};
        auto* const page =
            static_cast<int volatile*>(::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        *page = 1;
        say("never");
    });
    CHECK(process.wait().killed_by(SIGSEGV));
}

TEST_CASE("a chained fault handler may repair the fault, and the program goes on", "[chain]") {
    in_child([] {
        static void* page;
        page = ::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        auto const before = make_action(+[](int, siginfo_t* info, void*) {
            steps = steps + 1;
            if (info->si_addr == page) ::mprotect(page, 4096, PROT_READ | PROT_WRITE);
        });
        ::sigaction(SIGSEGV, &before, nullptr);
        guard signals{on_crash<SIGSEGV>(in_handler([](delivery const& d) noexcept {
                                            if (d.address() == page) steps = steps + 10;
                                        }),
                                        chain)};
        *static_cast<int volatile*>(page) = 1;
        require_in_child(steps == 11);
    });
}

TEST_CASE("a chained handler may leave by siglongjmp, again and again", "[chain]") {
    in_child([] {
        static sigjmp_buf back;
        ::signal(SIGUSR1, +[](int) { ::siglongjmp(back, 1); });
        auto const before = action_of(SIGUSR1);
        {
            guard signals{on<SIGUSR1>(in_handler([](delivery const&) noexcept { steps = steps + 1; }), chain)};
            for (sig_atomic_t i = 0; i < 1000; i = steps)
                if (sigsetjmp(back, 1) == 0) ::raise(SIGUSR1);
            require_in_child(steps == 1000);
        }
        require_in_child(same_action(action_of(SIGUSR1), before));
    });
}

TEST_CASE("an inner guard's chain reaches the outer guard, and then what was there before", "[chain]") {
    in_child([] {
        ::signal(SIGUSR1, &foreign);
        int order = 0;
        guard outer{on<SIGUSR1>(in_handler([&order](delivery const&) noexcept { order = order * 10 + 2; }), chain)};
        guard inner{on<SIGUSR1>(in_handler([&order](delivery const&) noexcept { order = order * 10 + 1; }), chain)};
        ::raise(SIGUSR1);
        require_in_child(order == 12 && found.calls == 1);
    });
}

TEST_CASE("a deferred reaction of a chained row runs all the same", "[chain]") {
    in_child([] {
        ::signal(SIGUSR1, &foreign);
        int ran = 0;
        guard signals{on<SIGUSR1>(defer([&] { ran = 1; }), chain)};
        ::raise(SIGUSR1);
        require_in_child(found.calls == 1 && ran == 0);
        require_in_child(signals.check() == 1 && ran == 1);
    });
}

TEST_CASE("a foreign handler that passes the signal on to us continues the chain behind it", "[chain]") {
    in_child([] {
        static struct sigaction ours;
        ::signal(SIGUSR1, &foreign);
        guard outer{on<SIGUSR1>(in_handler([](delivery const&) noexcept { steps = steps * 10 + 2; }), chain)};
        auto const between = make_action(+[](int number, siginfo_t* info, void* context) {
            steps = steps * 10 + 1;
            ours.sa_sigaction(number, info, context);
        });
        ::sigaction(SIGUSR1, &between, &ours);
        ::raise(SIGUSR1);
        require_in_child(steps == 12 && found.calls == 1);
        guard inner{on<SIGUSR1>(in_handler([](delivery const&) noexcept { steps = steps * 10 + 3; }), chain)};
        steps = 0;
        ::raise(SIGUSR1);
        require_in_child(steps == 312 && found.calls == 2);
    });
}

TEST_CASE("errno is kept over a chained handler", "[chain]") {
    in_child([] {
        ::signal(SIGUSR1, +[](int) { errno = ENOSPC; });
        guard signals{on<SIGUSR1>(chain)};
        errno = E2BIG;
        ::raise(SIGUSR1);
        require_in_child(errno == E2BIG);
    });
}
