// SPDX-License-Identifier: MIT
// A step that may fault or hang without taking what comes after it along.
//
// Runs in the handler, and on any ordinary thread. attempt() runs a step; a handler that interrupts it on the same
// thread may call step_back() and return: the thread then goes on behind attempt(), as after siglongjmp(3), but by way
// of the kernel's own return from the signal, so that mask and alternate stack are as they should be. An attempt that
// nothing goes wrong in makes no system call.
//
// Destructors between are not run, locks are not given back: a step owns nothing that has to be returned. It comes to
// its end or is stepped back from; it is not left in any other way (siglongjmp, an exception, the end of the thread).
// With SS_AUTODISARM (sigaltstack(2)) a step back out of two handlers at once would lose the alternate stack. Under
// ThreadSanitizer the reports of a thread that has stepped back show calls that it is no longer in.
#pragma once

#include <signal.h>

#include <cstdint>

#include <tocsin/in_signal/system.hpp>

#if defined(__x86_64__)
#include <tocsin/in_signal/recover_x86_64.hpp>
#elif defined(__aarch64__)
#include <tocsin/in_signal/recover_aarch64.hpp>
#else
#error "tocsin supports Linux on x86-64 and aarch64"
#endif

// Of AddressSanitizer's interface (sanitizer/asan_interface.h); called in programs that are built with it only.
extern "C" void __asan_unpoison_memory_region(void const volatile* from, std::size_t bytes);

namespace tocsin::in_signal {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool address_sanitizer = true;
#elif defined(__has_feature)
inline constexpr bool address_sanitizer = __has_feature(address_sanitizer);
#else
inline constexpr bool address_sanitizer = false;
#endif

// An attempt that is under way; it lies in the frame of attempt().
struct recovery_point {
    machine::place place;
    recovery_point* outer;
    std::uintptr_t thread;
    unsigned level;
};

// The attempts of one thread. Zero-initialised memory is a valid one with none under way.
struct recovery {
    recovery_point* innermost;
    kernel_set mask;  // that a thread has behind a step back, if it is kept
    bool keeps_mask;
};

// Makes every later step back put this thread's present mask back too; a system call. Without it, the mask behind a
// step back is the one that the nested handler interrupted: the same, if steps leave it alone and no step back leads
// out of two handlers at once.
inline void keep_mask(recovery& of) noexcept { of.keeps_mask = change_mask(SIG_BLOCK, nullptr, &of.mask) == 0; }

// How many attempts of this thread are under way, one in the other; 0 on another thread than theirs.
inline unsigned attempts_under_way(recovery const& of) noexcept {
    recovery_point const* const innermost = of.innermost;
    return innermost != nullptr && innermost->thread == thread_pointer() ? innermost->level : 0;
}

// The handlers of this thread see the step armed for as long as it runs, and nothing of it is done before or after.
inline void set_innermost(recovery& of, recovery_point* to) noexcept {
    __asm__ volatile("" : : : "memory");
    __atomic_store_n(&of.innermost, to, __ATOMIC_RELAXED);
    __asm__ volatile("" : : : "memory");
}

// Apart from attempt(), whose frame must hold nothing that changes.
template <class F>
__attribute__((noinline)) void carry_out(F& step) noexcept {
    step();
}

// Runs step(). True if it came to its end, false if step_back() was called meanwhile. Attempts nest; each is spent by
// its first step back, and the one around it counts again. An exception out of the step ends the process.
template <class F>
__attribute__((noinline, no_sanitize("address"), no_sanitize("thread"))) bool attempt(recovery& in,
                                                                                     F&& step) noexcept {
    recovery_point here;
    here.outer = in.innermost;
    here.thread = thread_pointer();
    here.level = here.outer != nullptr ? here.outer->level + 1 : 1;
    if (!machine::remember(here.place)) {
        machine::settle(here.place);
        return false;
    }
    set_innermost(in, &here);
    carry_out(step);
    set_innermost(in, here.outer);
    return true;
}

// Frames that nobody returns from leave their marks in the sanitizer's map of the stack.
inline void forget_frames([[maybe_unused]] std::uintptr_t from, [[maybe_unused]] std::uintptr_t to) noexcept {
    if constexpr (address_sanitizer) {
        constexpr std::uintptr_t red_zone = 128;
        constexpr std::uintptr_t largest_stack = 64U << 20;
        // Two stacks lie in any order and at any distance.
        if (from < to && to - from < largest_stack)
            __asan_unpoison_memory_region(reinterpret_cast<void const*>(from - red_zone), to - from + red_zone);
    }
}

// In a handler on the thread of the attempts: makes the handler's return lead behind the attempt of this level (the
// outermost is 1), which ends all those within. False, and the context untouched, if it is not under way.
inline bool step_back(recovery& of, ucontext_t& context, unsigned level) noexcept {
    if (level == 0 || attempts_under_way(of) < level) return false;
    recovery_point const* to = of.innermost;
    while (to->level > level) to = to->outer;
    forget_frames(stack_pointer(context), to->place.sp);
    machine::send_to(to->place, context);
    if (of.keeps_mask) set_interrupted_mask(context, of.mask);
    set_innermost(of, to->outer);
    return true;
}

// The same with the innermost attempt.
inline bool step_back(recovery& of, ucontext_t& context) noexcept {
    return step_back(of, context, attempts_under_way(of));
}

}  // namespace tocsin::in_signal
