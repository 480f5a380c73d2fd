// SPDX-License-Identifier: MIT
// What a guard throws when the system refuses something.
//
// Runs on any ordinary thread.
#pragma once

#include <errno.h>

#include <new>  // std::exception, the base of std::bad_alloc; <exception> costs three times as much

#include <tocsin/failure.hpp>
#include <tocsin/libc_functions.hpp>
#include <tocsin/signal.hpp>

namespace tocsin {

// A refused system call: its errno, its name, and the signal it was for (0 if it was for none). Visible, whatever the
// program's objects hide: LLVM's library compares exception types by address.
class [[gnu::visibility("default")]] error : public std::exception {
  public:
    [[gnu::cold]] error(int code, char const* call, int signal) noexcept : code_{code}, signal_{signal}, call_{call} {
        char const* const reason = detail::libc::strerror(code);
        // without the table of names for real-time signals, which few programs need
        int number = detail::realtime_offset(signal);  // shown if it is another than 0
        char const* name = number == 0 ? "SIGRTMIN" : "SIGRTMIN+";
        if (number < 0) {
            name = detail::standard_name(signal);
            number = *name == '\0' ? signal : 0;
            if (number != 0) name = "signal ";
        }
        char const* const opened = signal != 0 ? "(" : "";
        char const* const closed = signal != 0 ? ")" : "";
        __builtin_snprintf(text_, sizeof text_, "tocsin: %s%s%s%.0d%s: %s", call, opened, name, number, closed, reason);
    }

    // One line: the call, the signal and the reason, such as "tocsin: sigaction(SIGUSR1): Invalid argument".
    char const* what() const noexcept override { return text_; }

    // The errno, named so that a program may say `catch (error const& e) { e.code(); }`.
    int code() const noexcept { return code_; }
    int signal() const noexcept { return signal_; }
    // The call that was refused, a static string.
    char const* call() const noexcept { return call_; }

  private:
    int code_;
    int signal_;
    char const* call_;
    char text_[128];
};

}  // namespace tocsin
