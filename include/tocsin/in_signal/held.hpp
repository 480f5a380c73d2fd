// SPDX-License-Identifier: MIT
// Deliveries that a thread has asked to be kept for a while: `hold`.
//
// Runs in the handler. The thread says in its own cell that it holds; no other word is read for it, and where nobody
// holds, nothing. The first delivery is kept, and all signals are masked in the state that the handler returns to: from
// then on the kernel keeps the rest, in its order. Faults are never held, nor what the library asks of a thread.
#pragma once

#include <tocsin/in_signal/slot.hpp>
#include <tocsin/signal.hpp>

namespace tocsin::in_signal {

// A mark in `own_cell::holder` that is for no slot: deliveries take the way of those that find the cell in use.
inline std::uintptr_t holding_mark(std::uintptr_t self) noexcept { return self; }

constexpr kernel_set holdable() noexcept {
    kernel_set set = ~kernel_set{0};
    for (int signal = 1; signal <= tocsin::detail::standard_signals; ++signal)
        if (is_fault(signal)) set &= ~bit_of(signal);
    return set;
}

// True if the delivery has been put off. A second one comes only if the program has opened signals in between: it is
// sent again, to be pending; where the kernel has no room for it, it is not put off.
[[gnu::visibility("hidden"), gnu::noinline]] inline bool put_off(kept_delivery& kept, arrival& a) noexcept {
    if (a.context == nullptr) return false;
    int const reserved = a.in->reserved_signal.load();
    int const second = a.in->second_signal.load();
    if (a.signal == reserved || a.signal == second) return false;
    // In a vforked child the thread's words are the parent's.
    std::int32_t const live = a.in->live_process->load_relaxed();
    if (live != 0 && live != a.pid()) return false;
    if (kept.signal != 0 && queue_to_thread(a.pid(), gettid(), a.signal, a.info) != 0) return false;
    kernel_set const before = interrupted_mask(*a.context);
    kernel_set close = holdable() & ~before;
    if (reserved != 0) close &= ~bit_of(reserved);
    if (second != 0) close &= ~bit_of(second);
    if (kept.signal == 0) {
        kept.info = *a.info;
        kept.process = a.pid();
        kept.closed = 0;
        kept.signal = a.signal;
    }
    kept.closed |= close;
    set_interrupted_mask(*a.context, before | close);
    return true;
}

}  // namespace tocsin::in_signal
