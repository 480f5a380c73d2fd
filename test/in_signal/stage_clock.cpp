// SPDX-License-Identifier: MIT
#include <tocsin/in_signal/stage_clock.hpp>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <thread>

#include <tocsin/in_signal/recover.hpp>

#include "support/signals.hpp"

using namespace tocsin::in_signal;
using namespace tocsin::test;

namespace {

constexpr std::uint64_t moment = 2'000'000;
constexpr std::uint64_t for_ever = 3'600'000'000'000;

constinit stage_memory memory{};
constinit stage_memory of_the_whole{};
constinit recovery attempts{};

// What the last signals were, as the handler saw them.
int volatile arrived = 0;
int volatile ours = 0;
int volatile due = 0;
int volatile code = 0;

void look(int, siginfo_t* info, void* context) {
    arrived = arrived + 1;
    code = info->si_code;
    if (is_stage_signal(memory, *info)) ours = ours + 1;
    if (!is_due(memory)) return;
    due = due + 1;
    end_stage(attempts, memory, *static_cast<ucontext_t*>(context));
}

void look_at(int signal) {
    struct sigaction const action = make_action(look);
    require_in_child(::sigaction(signal, &action, nullptr) == 0);
}

void forget() {
    arrived = 0;
    ours = 0;
    due = 0;
    code = 0;
}

void spin() noexcept {
    for (;;) relax();
}

enum class refusal { nothing, queue, timer, timer_and_queueing, both };

// From now on the system calls fail with EPERM.
void refuse(std::initializer_list<long> calls) {
    require_in_child(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    for (long const call : calls) {
        sock_filter lines[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(call), 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        sock_fprog const program{sizeof lines / sizeof lines[0], lines};
        require_in_child(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    }
}

void refuse(refusal what) {
    rlimit const none{0, 0};
    if (what == refusal::queue) require_in_child(::setrlimit(RLIMIT_SIGPENDING, &none) == 0);
    if (what == refusal::timer) refuse({SYS_timer_create});
    if (what == refusal::timer_and_queueing) refuse({SYS_timer_create, SYS_rt_tgsigqueueinfo});
    if (what == refusal::both) refuse({SYS_timer_create, SYS_clone});
}

// The kernel strikes a thread off the list a moment after it has said that it ended.
void no_thread_is_left() {
    require_in_child(sender_of(memory) == 0);
    until([] { return threads() == 1; });
}

}  // namespace

TEST_CASE("a step that takes too long is ended, at whatever moment, and leaves nothing behind", "[stage_clock]") {
    refusal const refused = GENERATE(refusal::nothing, refusal::queue, refusal::timer, refusal::timer_and_queueing);
    in_child([refused] {
        refuse(refused);
        look_at(SIGUSR1);
        for (unsigned i = 0; i < 500; ++i) require_in_child(!attempt_within(attempts, memory, SIGUSR1, i * 100, spin));
        require_in_child(attempts_under_way(attempts) == 0);
        no_thread_is_left();
    });
}

TEST_CASE("a step that is done in time has its whole result", "[stage_clock]") {
    refusal const refused = GENERATE(refusal::nothing, refusal::timer, refusal::both);
    in_child([refused] {
        refuse(refused);
        look_at(SIGUSR1);
        int done = 0;
        for (int i = 0; i < 100; ++i)
            require_in_child(attempt_within(attempts, memory, SIGUSR1, for_ever, [&]() noexcept { ++done; }));
        require_in_child(done == 100 && arrived == 0);
        no_thread_is_left();
    });
}

TEST_CASE("a limit that is over before the step begins keeps it from beginning", "[stage_clock]") {
    in_child([] {
        refuse(refusal::timer);
        look_at(SIGUSR1);
        block_signal(SIGUSR1);
        bool begun = false;
        require_in_child(!attempt_within(attempts, memory, SIGUSR1, 0, [&]() noexcept { begun = true; }));
        require_in_child(!begun);
    });
}

TEST_CASE("the limit of the whole ends the stage that is under way, and all that follow", "[stage_clock]") {
    refusal const refused = GENERATE(refusal::nothing, refusal::queue, refusal::timer);
    in_child([refused] {
        refuse(refused);
        struct sigaction const both = make_action(+[](int, siginfo_t* info, void* context) {
            auto& interrupted = *static_cast<ucontext_t*>(context);
            require_in_child(is_stage_signal(of_the_whole, *info) || is_stage_signal(memory, *info));
            if (!end_stage(attempts, of_the_whole, interrupted)) end_stage(attempts, memory, interrupted);
        });
        ::sigaction(SIGUSR1, &both, nullptr);
        for (int i = 0; i < 5; ++i) {
            int stages = 0;
            bool const whole = attempt_within(attempts, of_the_whole, SIGUSR1, 10 * moment, [&]() noexcept {
                for (;; ++stages) require_in_child(!attempt_within(attempts, memory, SIGUSR1, moment / 2, spin));
            });
            require_in_child(!whole && stages < 20 && attempts_under_way(attempts) == 0);
        }
        stage_clock{memory, SIGUSR1, for_ever}.cancel();
        no_thread_is_left();
    });
}

TEST_CASE("the signal comes when the time is up, whatever means the kernel refuses", "[stage_clock]") {
    refusal const refused = GENERATE(refusal::nothing, refusal::queue, refusal::timer, refusal::timer_and_queueing);
    in_child([refused] {
        refuse(refused);
        look_at(SIGUSR1);
        for (int i = 0; i < 20; ++i) {
            forget();
            std::uint64_t const start = monotonic();
            stage_clock clock{memory, SIGUSR1, moment};
            require_in_child(clock.armed());
            require_in_child(clock.means() == (refused == refusal::nothing ? stage_means::timer : stage_means::thread));
            until([] { return arrived != 0; });
            require_in_child(monotonic() - start >= moment);
            require_in_child(arrived == 1 && ours == 1 && due == 1);
            int const expected = refused == refusal::nothing ? SI_TIMER
                                 : refused == refusal::timer ? SI_QUEUE
                                 : refused == refusal::queue ? SI_USER
                                                             : SI_TKILL;
            require_in_child(code == expected);
            clock.cancel();
            require_in_child(!clock.armed() && !is_due(memory));
            no_thread_is_left();
        }
    });
}

TEST_CASE("a step that is done in time gets no signal, and leaves neither timer nor thread", "[stage_clock]") {
    refusal const refused = GENERATE(refusal::nothing, refusal::queue, refusal::timer);
    in_child([refused] {
        refuse(refused);
        look_at(SIGUSR1);
        for (int i = 0; i < 200; ++i) {
            stage_clock const clock{memory, SIGUSR1, for_ever};
            require_in_child(clock.armed() && !is_due(memory));
            bool const by_thread = clock.means() == stage_means::thread;
            require_in_child(by_thread == (refused != refusal::nothing) && by_thread == (sender_of(memory) != 0));
        }
        no_thread_is_left();
        require_in_child(arrived == 0);
    });
}

TEST_CASE("where everything is refused a clock says so, and the step goes on without", "[stage_clock]") {
    in_child([] {
        refuse(refusal::both);
        look_at(SIGUSR1);
        {
            stage_clock clock{memory, SIGUSR1, 1};
            require_in_child(!clock.armed() && clock.means() == stage_means::none && !is_due(memory));
            clock.cancel();
        }
        require_in_child(arrived == 0);
    });
}

TEST_CASE("a clock that expires while it is cancelled is harmless", "[stage_clock]") {
    refusal const refused = GENERATE(refusal::nothing, refusal::queue, refusal::timer);
    in_child([refused] {
        refuse(refused);
        look_at(SIGUSR1);
        for (unsigned i = 0; i < 2000; ++i) {
            forget();
            { stage_clock const clock{memory, SIGUSR1, i * 50}; }
            require_in_child(arrived == ours && due <= arrived && arrived <= 1);
            require_in_child(!is_due(memory));
        }
        no_thread_is_left();
    });
}

TEST_CASE("a signal of an earlier clock is known as such, and is not due", "[stage_clock]") {
    in_child([] {
        look_at(SIGUSR1);
        block_signal(SIGUSR1);
        refuse(refusal::timer);
        {
            stage_clock const clock{memory, SIGUSR1, 1};
            until([] { return is_due(memory); });
            until([] {
                sigset_t pending;
                ::sigpending(&pending);
                return ::sigismember(&pending, SIGUSR1) == 1;
            });
        }
        stage_clock const next{memory, SIGUSR1, for_ever};
        block_signal(SIGUSR1, SIG_UNBLOCK);
        require_in_child(arrived == 1 && ours == 1 && due == 0);
        ::raise(SIGUSR1);
        require_in_child(arrived == 2 && ours == 1 && due == 0);
    });
}

TEST_CASE("what others send is not taken for a clock's", "[stage_clock]") {
    siginfo_t info{};
    info.si_signo = SIGUSR1;
    for (int const each : {SI_USER, SI_QUEUE, SI_TIMER, SI_TKILL}) {
        info.si_code = each;
        CHECK_FALSE(is_stage_signal(memory, info));
    }
    in_child([] {
        refuse(refusal::timer_and_queueing);
        look_at(SIGUSR1);
        stage_clock const clock{memory, SIGUSR1, for_ever};
        sigval value{};
        value.sival_ptr = &memory;
        require_in_child(::sigqueue(::getpid(), SIGUSR1, value) == 0);
        ::raise(SIGUSR1);
        ::kill(::getpid(), SIGUSR1);
        require_in_child(arrived == 3 && ours == 0 && due == 0);
    });
}

TEST_CASE("the signal goes to the thread that has armed the clock, and is due there alone", "[stage_clock]") {
    refusal const refused = GENERATE(refusal::nothing, refusal::timer);
    in_child([refused] {
        refuse(refused);
        look_at(SIGUSR1);
        block_signal(SIGUSR1);
        std::thread{[] {
            block_signal(SIGUSR1, SIG_UNBLOCK);
            stage_clock const clock{memory, SIGUSR1, moment};
            bool elsewhere = true;
            until([] { return arrived != 0; });
            std::thread{[&] { elsewhere = is_due(memory); }}.join();
            require_in_child(!elsewhere && is_due(memory) && arrived == 1 && due == 1);
        }}.join();
        sigset_t pending;
        ::sigpending(&pending);
        require_in_child(::sigismember(&pending, SIGUSR1) == 0);
        no_thread_is_left();
    });
}

TEST_CASE("a clock ends the one before it in the same memory, which then keeps its hands off", "[stage_clock]") {
    refusal const refused = GENERATE(refusal::nothing, refusal::timer);
    in_child([refused] {
        refuse(refused);
        look_at(SIGUSR1);
        {
            stage_clock left{memory, SIGUSR1, for_ever};
            stage_clock const next{memory, SIGUSR1, moment};
            require_in_child(!left.armed() && next.armed());
            left.cancel();
            require_in_child(next.armed());
            until([] { return due == 1; });
        }
        no_thread_is_left();
    });
}

TEST_CASE("a child process neither has its parent's clock nor waits for it", "[stage_clock]") {
    refusal const refused = GENERATE(refusal::nothing, refusal::timer);
    in_child([refused] {
        refuse(refused);
        look_at(SIGUSR1);
        stage_clock clock{memory, SIGUSR1, for_ever};
        require_fork([&] {
            std::uint64_t const start = monotonic();
            clock.cancel();
            require_in_child(monotonic() - start < sender_patience / 2 && sender_of(memory) == 0);
            stage_clock const own{memory, SIGUSR1, moment};
            require_in_child(own.armed());
            until([] { return due == 1; });
        });
        require_in_child(clock.armed());
    });
}

TEST_CASE("arming a clock leaves the mask as it was", "[stage_clock]") {
    refusal const refused = GENERATE(refusal::nothing, refusal::timer);
    in_child([refused] {
        refuse(refused);
        block_signal(SIGUSR2);
        unsigned long long const before = status_mask(::getpid(), "SigBlk:");
        stage_clock const clock{memory, SIGUSR1, for_ever};
        require_in_child(clock.armed() && status_mask(::getpid(), "SigBlk:") == before);
        if (sender_of(memory) == 0) return;
        // SIGKILL and SIGSTOP cannot be blocked.
        unsigned long long const sender = status_mask(sender_of(memory), "SigBlk:");
        require_in_child(sender == ~(tocsin::in_signal::bit_of(SIGKILL) | tocsin::in_signal::bit_of(SIGSTOP)));
    });
}
