// SPDX-License-Identifier: MIT
// The calling thread's mask, changed for a scope.
//
// Runs on any ordinary thread.
#pragma once

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include <tocsin/error.hpp>

namespace tocsin::posix {

// A set that remembers the first number that is no signal.
class signals_in {
  public:
    signals_in() noexcept { ::sigemptyset(&set_); }

    void add(int signal) noexcept {
        if (::sigaddset(&set_, signal) != 0 && invalid_ == 0) invalid_ = signal;
    }
    int invalid() const noexcept { return invalid_; }
    sigset_t const& native() const noexcept { return set_; }

  private:
    sigset_t set_;
    int invalid_ = 0;
};

// Blocks a set, and puts back what was there.
class mask {
  public:
    explicit mask(signals_in const& blocked) noexcept {
        if (blocked.invalid() != 0)
            refused_ = {EINVAL, "sigaddset", blocked.invalid()};
        else if (int const code = ::pthread_sigmask(SIG_BLOCK, &blocked.native(), &before_))
            refused_ = {code, "pthread_sigmask", 0};
    }
    ~mask() {
        if (!refused_) ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }
    mask(mask const&) = delete;
    mask& operator=(mask const&) = delete;

    failure const& refused() const noexcept { return refused_; }

  private:
    sigset_t before_;
    failure refused_;
};

}  // namespace tocsin::posix
