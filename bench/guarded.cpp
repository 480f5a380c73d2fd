// SPDX-License-Identifier: MIT
// What does a guarded call cost with nothing raised, and what with a fault and the recovery from it?
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <tocsin/guarded.hpp>

#include "support/measure.hpp"

using namespace tocsin;
using namespace tocsin::bench;

namespace {

constexpr int calls = 100'000;
constexpr int faults = 1'000;

int volatile word = 1;

// The parts: what a guarded call has to remember, and a frame of the thread's own pushed and popped.
struct frame_by_hand {
    frame_by_hand* outer;
    void* back[5];
};
thread_local frame_by_hand* innermost;

[[gnu::noinline]] int call_by_hand() {
    frame_by_hand mine;
    mine.outer = innermost;
    if (__builtin_setjmp(mine.back) != 0) return -1;
    __atomic_store_n(&innermost, &mine, __ATOMIC_RELAXED);
    int const answer = word;
    __atomic_store_n(&innermost, mine.outer, __ATOMIC_RELAXED);
    return answer;
}

jmp_buf back;
sigjmp_buf back_with_mask;

void jump(int) { ::_longjmp(back, 1); }
void jump_with_mask(int) { ::siglongjmp(back_with_mask, 1); }
void step_over(int) {}

// The cheapest jump that leaves mask and control words as the fault found them. It is no way out for a library: a
// thread's protection keys (pkeys(7)) stay as they are for handlers, and a filter may refuse the system call.
void jump_with_state(int, siginfo_t*, void* given) {
    auto const& context = *static_cast<ucontext_t*>(given);
    ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &context.uc_sigmask, nullptr, 8);
#if defined(__x86_64__)
    auto const* const unit = context.uc_mcontext.fpregs;
    __asm__ volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(unit->mxcsr), "m"(unit->cwd));
#endif
    ::_longjmp(back, 1);
}

// The same way out that we take: the handler returns, and the kernel puts back all that it has saved.
void leap() { ::_longjmp(back, 1); }
void go_on_in_leap(int, siginfo_t*, void* given) {
    auto& context = *static_cast<ucontext_t*>(given);
#if defined(__x86_64__)
    constexpr greg_t red_zone = 128;
    greg_t& sp = context.uc_mcontext.gregs[REG_RSP];
    sp = ((sp - red_zone) & ~greg_t{15}) - 8;
    context.uc_mcontext.gregs[REG_RIP] = reinterpret_cast<greg_t>(&leap);
#else
    context.uc_mcontext.pc = reinterpret_cast<std::uintptr_t>(&leap);
#endif
}

// int3: a load of null costs the page fault as well, and ud2 is slow under some hypervisors.
[[gnu::always_inline]] inline void trap() {
#if defined(__x86_64__)
    __asm__ volatile("int3");
#else
    ::raise(SIGTRAP);
#endif
}

template <class F>
double with_action(struct sigaction const& action, F f) {
    struct sigaction before {};
    ::sigaction(SIGTRAP, &action, &before);
    double const cost = each_call(faults, f);
    ::sigaction(SIGTRAP, &before, nullptr);
    return cost;
}
template <class F>
double with_handler(void (*handler)(int), int flags, F f) {
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = flags;
    return with_action(action, f);
}

double recover_by_longjmp() {
    return with_handler(jump, SA_NODEFER | SA_ONSTACK, [] {
        if (::_setjmp(back) == 0) trap();
    });
}
double recover_by(void (*handler)(int, siginfo_t*, void*)) {
    struct sigaction action {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    ::sigfillset(&action.sa_mask);
    return with_action(action, [] {
        if (::_setjmp(back) == 0) trap();
    });
}
double recover_with_mask() {
    return with_handler(jump_with_mask, SA_ONSTACK, [] {
        if (sigsetjmp(back_with_mask, 1) == 0) trap();
    });
}
double deliver_and_return() { return with_handler(step_over, SA_ONSTACK, trap); }

double recover_guarded() {
    return each_call(faults, [] {
        auto const met = guarded<SIGTRAP>([] { trap(); });
        if (met) std::abort();
    });
}

}  // namespace

int main() {
    contest calm{"guarded", rounds(61)};
    calm.row("entered, nothing raised").floor("__builtin_setjmp, a frame pushed and popped", [] {
        return each_call(calls, [] { use(call_by_hand()); });
    });
    calm.peer("_setjmp", [] { return each_call(calls, [] { use(::_setjmp(back)); }); });
    calm.peer("sigsetjmp with the mask", [] {
        return each_call(calls / 50, [] { use(sigsetjmp(back_with_mask, 1)); });
    });
    calm.ours("guarded<SIGSEGV>(f)", target::at_most(5), [] {
        return each_call(calls, [] { use(*guarded<SIGSEGV>([] { return static_cast<int>(word); })); });
    });
    calm.absent("wg14_signals");
    calm.run();

    contest raised{"guarded", rounds(41)};
    raised.row("a fault and the recovery").floor("_setjmp, int3, _longjmp", recover_by_longjmp);
    raised.peer("sigsetjmp with the mask", recover_with_mask);
    raised.part("int3, handler, sigreturn", deliver_and_return);
    raised.same("_setjmp, int3, sigreturn to a function that jumps", [] { return recover_by(go_on_in_leap); });
    raised.part("int3, mask and control words put back, _longjmp", [] { return recover_by(jump_with_state); });
    raised.ours("guarded<SIGTRAP>(f)", target::times(1.03), recover_guarded,
                "price: leaves by sigreturn, which alone puts back the mask, the protection keys and the flags, and "
                "which no filter refuses");
    raised.absent("wg14_signals");
    raised.run();
}
