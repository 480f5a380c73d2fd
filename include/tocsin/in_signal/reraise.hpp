// SPDX-License-Identifier: MIT
// Giving a signal to the disposition that it would have met without us.
//
// Runs in the handler, at its end: what is arranged here happens when the handler returns.
#pragma once

#include <errno.h>

#include <tocsin/delivery.hpp>
#include <tocsin/in_signal/report_seat.hpp>
#include <tocsin/in_signal/slot.hpp>
#include <tocsin/signal.hpp>

namespace tocsin::in_signal {

inline bool stops_by_default(int signal) noexcept {
    return signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

// signal(7), "Standard signals": the action Ign, and Cont for a process that runs.
inline bool ignored_by_default(int signal) noexcept {
    return signal == SIGCHLD || signal == SIGURG || signal == SIGWINCH || signal == SIGCONT;
}

// Sends the original siginfo to this thread again, so that code, address and sender reach whoever is next, and
// the core. The signal stays blocked until the handler returns, when the kernel delivers it with the program
// counter where it was. If the kernel refuses (a seccomp filter), a true fault happens again by itself, and
// anything else is raised without its details.
[[gnu::noinline, gnu::cold]] inline void send_again(arrival& a) noexcept {
    kernel_set const blocked = bit_of(a.signal);
    change_mask(SIG_BLOCK, &blocked, nullptr);
    if (a.context != nullptr)
        set_interrupted_mask(*a.context, interrupted_mask(*a.context) & ~blocked);
    int const process = a.pid();
    int const thread = gettid();
    if (queue_to_thread(process, thread, a.signal, a.info) == 0) return;
    if (delivery::is_from_processor(a.signal, a.info->si_code)) return;
    if (tgkill(process, thread, a.signal) != 0) exit_now(128 + a.signal);
}

// Puts `previous` back, whole, and lets the signal meet it. The first process of a container is not ended by a default
// disposition (kernel/signal.c, SIGNAL_UNKILLABLE): it ends with the status that a shell gives such a death.
[[gnu::noinline, gnu::cold]] inline void reraise(arrival& a, disposition const& previous) noexcept {
    begin_dying(*a.in);
    bool const spared = previous.handler == SIG_DFL && a.pid() == 1 && !stops_by_default(a.signal);
    // Where a filter refuses it, the signal would come back to this very handler, for ever.
    if (spared || change_action(a.signal, &previous, nullptr) != 0) exit_now(128 + a.signal);
    send_again(a);
    if (previous.handler != SIG_DFL) go_on_living(*a.in);
}

// Stops the process, and goes on here after SIGCONT: then the kernel has again what the newest link says, which may be
// another one by now, unless somebody else has installed a handler meanwhile. The restorer is libc's, which only the
// kernel knows.
[[gnu::always_inline]] inline void stop_and_go_on(arrival& a, disposition const& by_default) noexcept {
    constexpr unsigned long with_restorer = 0x04000000;  // SA_RESTORER (asm/signal.h)
    disposition live{};
    change_action(a.signal, &by_default, &live);
    disposition const ours = live;
    send_again(a);
    kernel_set const opened = bit_of(a.signal);
    change_mask(SIG_UNBLOCK, &opened, nullptr);
    change_mask(SIG_BLOCK, &opened, nullptr);
    live.handler = SIG_DFL;
    change_action(a.signal, nullptr, &live);
    link* const newest = slot_of(*a.in, a.signal).newest.load();
    if (live.handler != SIG_DFL || newest == nullptr) return;
    live = newest->action;
    live.flags |= ours.flags & with_restorer;
    live.restorer = ours.restorer;
    change_action(a.signal, &live, nullptr);
}

// What the kernel does by default: nothing, stop (and go on here after SIGCONT, with our disposition back), or
// the end of the process when the handler returns.
[[gnu::noinline, gnu::cold]] inline void take_default(arrival& a) noexcept {
    if (ignored_by_default(a.signal)) return;
    disposition const by_default{SIG_DFL, 0, nullptr, 0};
    if (stops_by_default(a.signal)) return stop_and_go_on(a, by_default);
    reraise(a, by_default);
}

}  // namespace tocsin::in_signal
