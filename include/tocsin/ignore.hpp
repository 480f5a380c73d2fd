// SPDX-License-Identifier: MIT
// Rows that leave a signal to the kernel: `ignore` and `default_disposition`.
#pragma once

#include <tocsin/on.hpp>

namespace tocsin {

// The signal has no effect while the guard lives. For SIGPIPE and SIGXFSZ, which a program ignores for its own
// writes only, an empty handler does it, so that programs it executes start with the default (POSIX, execve:
// signals set to be ignored stay ignored). An ignored SIGCHLD means that children leave no status behind.
struct ignore_t {
    static constexpr stage where = stage::alone;
    static constexpr bool on_fault = false;
    static constexpr bool on_hang = false;
};
[[gnu::visibility("hidden")]] inline constexpr ignore_t ignore{};

// The kernel's default while the guard lives. After other reactions, what the kernel does by default comes last;
// after deferred ones, on the thread that ran them.
struct default_disposition_t {
    static constexpr stage where = stage::last;
    static constexpr bool on_fault = false;
    static constexpr bool on_hang = false;

    in_signal::finish_by_default last_word() const noexcept { return {}; }
};
[[gnu::visibility("hidden")]] inline constexpr default_disposition_t default_disposition{};

}  // namespace tocsin
