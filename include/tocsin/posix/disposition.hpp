// SPDX-License-Identifier: MIT
// One disposition, chosen at run time, for a scope.
//
// Runs on any ordinary thread. The mechanism under a guard's rows without the rest of a guard: no table, no chain, no
// reactions. For programs that know the signal only at run time.
#pragma once

#include <errno.h>
#include <signal.h>

#include <tocsin/failure.hpp>
#include <tocsin/posix/refusal.hpp>

namespace tocsin::posix {

// Gives a signal a disposition, and puts back what was there, whole: function, mask and flags. What somebody else has
// installed meanwhile stays.
class [[nodiscard]] disposition_guard {
  public:
    // Throws tocsin::error for a number that is no signal or cannot be caught, with nothing changed; without exceptions
    // it prints the error and aborts.
    disposition_guard(int signal, struct sigaction const& wanted) : signal_{signal} {
        if (::sigaction(signal, &wanted, &before_) != 0) fail({errno, "sigaction", signal});
        ::sigaction(signal, nullptr, &ours_);
    }
    ~disposition_guard() {
        struct sigaction live {};
        if (::sigaction(signal_, nullptr, &live) != 0 || live.sa_handler != ours_.sa_handler) return;
        ::sigaction(signal_, &before_, &live);
        if (live.sa_handler != ours_.sa_handler) ::sigaction(signal_, &live, nullptr);
    }
    disposition_guard(disposition_guard const&) = delete;
    disposition_guard& operator=(disposition_guard const&) = delete;

    // What was there.
    struct sigaction const& before() const noexcept { return before_; }

  private:
    int signal_;
    struct sigaction before_ {};
    struct sigaction ours_ {};
};

}  // namespace tocsin::posix
