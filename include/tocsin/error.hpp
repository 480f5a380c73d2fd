// SPDX-License-Identifier: MIT
// What a guard throws when the system refuses something.
//
// Runs on any ordinary thread.
#pragma once

#include <errno.h>
#include <string.h>

#include <exception>

#include <tocsin/signal.hpp>

namespace tocsin {

// A refused system call: its errno, its name, and the signal it was for (0 if it was for none). Visible, whatever the
// program's objects hide: LLVM's library compares exception types by address.
class [[gnu::visibility("default")]] error : public std::exception {
  public:
    error(int code, char const* call, int signal) noexcept : code_{code}, signal_{signal}, call_{call} {
        char const* const reason = ::strerror(code);
        if (signal == 0)
            __builtin_snprintf(text_, sizeof text_, "tocsin: %s: %s", call, reason);
        else if (name(signal).empty())
            __builtin_snprintf(text_, sizeof text_, "tocsin: %s(signal %d): %s", call, signal, reason);
        else
            __builtin_snprintf(text_, sizeof text_, "tocsin: %s(%s): %s", call, name(signal).c_str(), reason);
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

// How mechanisms report: what failed, without an exception. An `errno_code` of 0 is success.
struct failure {
    int errno_code = 0;
    char const* call = "";
    int signal = 0;

    constexpr explicit operator bool() const noexcept { return errno_code != 0; }
};

}  // namespace tocsin
