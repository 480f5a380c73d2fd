// SPDX-License-Identifier: MIT
// What a wait brings: a delivery with all that the kernel said of it, or nothing.
//
// Values; they run anywhere, handlers included.
#pragma once

#include <signal.h>

#include <tocsin/delivery.hpp>
#include <tocsin/signal.hpp>
#include <tocsin/traits.hpp>

namespace tocsin {

// A delivery that was waited for. Accessors answer 0 or null where the kernel said nothing.
class waited_signal : public delivery {
  public:
    constexpr waited_signal() noexcept = default;
    explicit waited_signal(siginfo_t const& info) noexcept : delivery{info.si_signo, info}, info_{info} {}

    // As the kernel gave it, for what has no accessor.
    siginfo_t const& info() const noexcept { return info_; }

    // Of a POSIX timer: expirations beyond this one (timer_getoverrun(2)), and which timer the kernel calls
    // it.
    int overrun() const noexcept { return code() == SI_TIMER ? info_.si_overrun : 0; }
    int timer() const noexcept { return code() == SI_TIMER ? info_.si_timerid : 0; }
    // Of SIGIO with F_SETSIG (fcntl(2)): the descriptor and its poll(2) events. -1 and 0 if it is not from
    // one.
    int fd() const noexcept { return is_from_descriptor() ? info_.si_fd : -1; }
    long events() const noexcept { return is_from_descriptor() ? info_.si_band : 0; }
    // Of SIGSYS from a seccomp filter: the number of the refused system call; -1 otherwise.
    int system_call() const noexcept { return signal() == SIGSYS && code() > 0 ? info_.si_syscall : -1; }

  private:
    // POLL_IN to POLL_HUP (bits/siginfo-consts.h); other signals use these numbers for something else, except
    // those that F_SETSIG may name: SIGIO and the real-time ones.
    bool is_from_descriptor() const noexcept {
        bool const may_be = signal() == SIGIO || signal() > detail::standard_signals;
        return may_be && code() >= POLL_IN && code() <= POLL_HUP;
    }

    siginfo_t info_{};
};

// A waited_signal, or nothing. Asked and converted as std::optional<delivery> is, without that header.
class maybe_signal {
  public:
    using value_type = waited_signal;

    constexpr maybe_signal() noexcept = default;
    explicit maybe_signal(siginfo_t const& info) noexcept : value_{info}, some_{true} {}

    constexpr bool has_value() const noexcept { return some_; }
    constexpr explicit operator bool() const noexcept { return some_; }
    // Of nothing: a delivery with signal 0, which no signal has.
    constexpr waited_signal const& value() const noexcept { return value_; }
    constexpr waited_signal const& operator*() const noexcept { return value_; }
    constexpr waited_signal const* operator->() const noexcept { return &value_; }

    template <class Optional>
        requires(__is_constructible(Optional) && !detail::same<Optional, maybe_signal> &&
                 detail::one_of<typename Optional::value_type, delivery, waited_signal>)
    operator Optional() const {
        Optional made{};
        if (some_) made = value_;
        return made;
    }

  private:
    waited_signal value_{};
    bool some_ = false;
};

}  // namespace tocsin
