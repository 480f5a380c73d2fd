// SPDX-License-Identifier: MIT
// The thread that has made itself the owner of a guard's deferred rows, and how it is interrupted.
//
// Runs in the handler. The interruption is the row's own signal, so that the row says whether system calls go on after
// it, and is told from others by what it carries. The delivery itself is recorded where it came: the kernel does not
// let a thread pass a siginfo on to another unless it came from sigqueue(3) (kernel/signal.c, do_rt_tgsigqueueinfo).
#pragma once

#include <signal.h>

#include <cstdint>

#include <tocsin/in_signal/atomic.hpp>
#include <tocsin/in_signal/slot.hpp>
#include <tocsin/in_signal/system.hpp>

namespace tocsin::in_signal {

struct owner_of_row {
    atomic<std::uintptr_t> pointer;  // its thread pointer; 0 if there is none. Written last.
    atomic<std::int32_t> thread;
    atomic<std::int32_t> process;

    // 0 if there is none, or if this is it.
    std::int32_t thread_to_interrupt(arrival& a) const noexcept {
        std::uintptr_t const owner = pointer.load_acquire();
        if (owner == 0 || owner == thread_pointer()) return 0;
        return process.load_relaxed() == a.pid() ? thread.load_relaxed() : 0;
    }
};

[[gnu::visibility("hidden")]] inline void interrupt(std::int32_t thread, arrival& a) noexcept {
    siginfo_t info{};
    info.si_signo = a.signal;
    info.si_code = SI_QUEUE;
    info.si_pid = a.pid();
    info.si_value.sival_ptr = a.in;
    queue_to_thread(info.si_pid, thread, a.signal, &info);
}

// An interruption carries the address of the table, which nobody else sends. It is for no row: it has done its work by
// coming.
[[gnu::noinline, gnu::cold]] inline bool carries_interruption(arrival& a) noexcept {
    return a.info->si_value.sival_ptr == a.in && a.info->si_pid == a.pid();
}
inline bool is_interruption(arrival& a) noexcept {
    return a.info->si_code == SI_QUEUE && carries_interruption(a);
}

}  // namespace tocsin::in_signal
