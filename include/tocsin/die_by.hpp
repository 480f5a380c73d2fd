// SPDX-License-Identifier: MIT
// `die_by(sig)`: ends the process so that its parent sees a death by this signal.
//
// Async-signal-safe: runs on any thread, and in handlers. A shell that runs a script stops it if a command
// died by SIGINT, and goes on if the command exited with 130: a program that catches SIGINT to clean up ends
// itself by it afterwards.
#pragma once

#include <signal.h>

#include <tocsin/in_signal/system.hpp>
#include <tocsin/signal_set.hpp>

namespace tocsin {

namespace detail {

// What the kernel ignores, stops or continues a process for (signal(7), "Standard signals").
[[gnu::visibility("hidden")]] inline constexpr signal_set deadly_signals =
    ~(signal_set{SIGCHLD, SIGURG, SIGWINCH, SIGCONT} | signal_set{SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU});

}  // namespace detail

// Gives the signal its default back, opens it for this thread and sends it to it; what has a core by default
// writes one. No destructor, no atexit function and no flush of stdio runs. Where the signal does not end the
// process after all (its default is to ignore or to stop, it is no signal, or the process is the first of a
// pid namespace, which the kernel spares) the process exits with 128 + sig, as shells report such a death.
[[noreturn]] inline void die_by(int signal) noexcept {
    constexpr int attempts = 3;  // another thread may install a handler at the same time
    for (int i = 0; i < attempts && detail::deadly_signals.contains(signal); ++i) {
        in_signal::kernel_action const by_default{SIG_DFL, 0, nullptr, 0};
        in_signal::change_action(signal, &by_default, nullptr);
        in_signal::kernel_set const opened = in_signal::bit_of(signal);
        in_signal::change_mask(SIG_UNBLOCK, &opened, nullptr);
        in_signal::tgkill(in_signal::getpid(), in_signal::gettid(), signal);
    }
    in_signal::exit_now((128 + static_cast<int>(static_cast<unsigned>(signal) & 127)) & 255);
}

// The same of a constant: die_by<SIGINT>().
template <auto Signal>
[[noreturn]] void die_by() noexcept {
    constexpr bool known = detail::names_a_member<Signal>();
    static_assert(known,
                  "tocsin: this number is no signal; standard signals are 1 to 31, real-time ones are "
                  "written rt<N>");
    constexpr bool deadly = !known || detail::deadly_signals.contains(Signal);
    static_assert(deadly, "tocsin: this signal does not end a process by default; name one that does");
    die_by(static_cast<int>(Signal));
}

}  // namespace tocsin
