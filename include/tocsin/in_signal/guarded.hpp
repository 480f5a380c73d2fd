// SPDX-License-Identifier: MIT
// Faults inside a guarded call: found by its thread, noted, and left behind.
//
// Runs in the handler. A thread is known by its thread pointer and not by a thread-local variable, whose first use in
// a shared object may allocate. The handler does not jump: it makes the interrupted thread go on elsewhere when it
// returns. So the mask, the alternate stack and the note of being inside a slot are taken back as after any handler.
#pragma once

#include <signal.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdint>

#include <tocsin/in_signal/atomic.hpp>
#include <tocsin/in_signal/recover.hpp>
#include <tocsin/in_signal/reraise.hpp>
#include <tocsin/in_signal/slot.hpp>
#include <tocsin/signal.hpp>

namespace tocsin::in_signal {

// One guarded call. It lies on the stack of the thread that makes it; they nest.
struct guarded_frame {
    guarded_frame* outer;
    kernel_set signals;
    machine::place back;  // where its thread goes on after a fault
};

// What a thread has of them. Never freed, used again by another thread; 0 if nobody does.
struct guarded_thread {
    atomic<std::uintptr_t> thread;
    atomic<guarded_frame*> innermost;
    guarded_thread* next = nullptr;
    int signal = 0;  // the fault that ended the last call that one ended
    int code = 0;
    void* address = nullptr;
};

// Newest first.
[[gnu::visibility("hidden")]] inline atomic<guarded_thread*> guarded_threads;

[[gnu::visibility("hidden")]] inline guarded_thread* find_guarded_thread(std::uintptr_t thread) noexcept {
    for (guarded_thread* at = guarded_threads.load_acquire(); at != nullptr; at = at->next)
        if (at->thread.load_relaxed() == thread) return at;
    return nullptr;
}

// True for what an instruction of this thread caused. Unlike `delivery::is_from_processor`, also for a general
// protection fault, which has no address (SI_KERNEL), and for a system call that a filter has trapped. Only the
// kernel makes positive codes (rt_sigqueueinfo(2)), but a process can send one to itself.
inline bool is_fault_of_thread(arrival const& a) noexcept {
    return a.context != nullptr && is_fault(a.signal) && a.info->si_code > 0;
}

// True if the fault happened in another handler, which a guarded call must not be left from: nobody would take back
// what that handler is in the middle of.
inline bool inside_another_handler(table& in) noexcept {
    std::uintptr_t const self = thread_pointer();
    own_cell const* const own = find_own_cell(in, self);
    std::uintptr_t const mark = own != nullptr ? own->holder.load_relaxed() : 0;
    unsigned found = (mark & thread_bits) == self && mark != self ? 1 : 0;  // `self` alone: the thread holds
    for_marks_of(in, self, [&found](int) noexcept { ++found; });
    return found > 1;
}

// If this thread is in a guarded call that takes this fault, notes it, and true: the thread goes on behind that
// call when the handler returns.
[[gnu::visibility("hidden")]] inline bool leave_guarded(arrival& a) noexcept {
    if (!is_fault_of_thread(a)) return false;
    guarded_thread* const mine = find_guarded_thread(thread_pointer());
    if (mine == nullptr) return false;
    guarded_frame* at = mine->innermost.load_relaxed();
    while (at != nullptr && (at->signals & bit_of(a.signal)) == 0) at = at->outer;
    if (at == nullptr || inside_another_handler(*a.in)) return false;
    mine->signal = a.signal;
    mine->code = a.info->si_code;
    mine->address = a.info->si_code != SI_KERNEL ? a.info->si_addr : nullptr;
    mine->innermost.store_relaxed(at->outer);
    forget_frames(stack_pointer(*a.context), at->back.sp);
    machine::send_to(at->back, *a.context);
    return true;
}

// The claim that guarded calls have on a signal. Outside of them it is as if it were not there. A fault that was
// ignored before would come back for ever: the kernel is asked to end the process, as it does by itself.
inline verdict run_guarded(link& self, arrival& a) noexcept {
    if (leave_guarded(a)) return verdict::done;
    link const* const below = self.older.load();
    bool const ignored = below != nullptr && !below->is_claim() && below->action.handler == SIG_IGN;
    return ignored && is_fault_of_thread(a) ? verdict::reraise : verdict::chain_or_default;
}

}  // namespace tocsin::in_signal
