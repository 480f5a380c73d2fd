// SPDX-License-Identifier: MIT
// What does a guarded call cost with nothing raised, and what with a fault and the recovery from it?
#include <setjmp.h>
#include <signal.h>

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

// int3: a load of null costs the page fault as well, and ud2 is slow under some hypervisors.
[[gnu::always_inline]] inline void trap() {
#if defined(__x86_64__)
    __asm__ volatile("int3");
#else
    ::raise(SIGTRAP);
#endif
}

template <class F>
double with_handler(void (*handler)(int), int flags, F f) {
    struct sigaction action {};
    struct sigaction before {};
    action.sa_handler = handler;
    action.sa_flags = flags;
    ::sigaction(SIGTRAP, &action, &before);
    double const cost = each_call(faults, f);
    ::sigaction(SIGTRAP, &before, nullptr);
    return cost;
}

double recover_by_longjmp() {
    return with_handler(jump, SA_NODEFER | SA_ONSTACK, [] {
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
    calm.run();

    contest raised{"guarded", rounds(41)};
    raised.row("a fault and the recovery").floor("_setjmp, int3, _longjmp", recover_by_longjmp);
    raised.peer("sigsetjmp with the mask", recover_with_mask);
    raised.part("int3, handler, sigreturn", deliver_and_return);
    raised.ours("guarded<SIGTRAP>(f)", target::times(1.03), recover_guarded,
                "leaves by sigreturn, which puts mask and alternate stack back");
    raised.run();
}
