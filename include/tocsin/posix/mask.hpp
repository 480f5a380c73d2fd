// SPDX-License-Identifier: MIT
// The calling thread's mask, changed for a scope.
//
// Runs on any ordinary thread.
#pragma once

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include <tocsin/failure.hpp>
#include <tocsin/in_signal/system.hpp>

namespace tocsin::posix {

// A set that remembers the first number that is no signal.
class signals_in {
  public:
    signals_in() noexcept { ::sigemptyset(&set_); }

    void add(int signal) noexcept {
        if (::sigaddset(&set_, signal) == 0 || refused_) return;
        refused_ = true;
        invalid_ = signal;
    }
    bool refused() const noexcept { return refused_; }
    int invalid() const noexcept { return invalid_; }
    sigset_t const& native() const noexcept { return set_; }

  private:
    sigset_t set_;
    int invalid_ = 0;
    bool refused_ = false;
};

// Blocks a set, or opens it, and puts back what was there.
class mask {
  public:
    explicit mask(signals_in const& signals, int how = SIG_BLOCK) noexcept {
        if (signals.refused())
            refused_ = {EINVAL, "sigaddset", signals.invalid()};
        else if (int const code = ::pthread_sigmask(how, &signals.native(), &before_))
            refused_ = {code, "pthread_sigmask", 0};
    }
    // A refusal that somebody else has found: nothing is changed.
    explicit mask(failure const& found) noexcept : refused_{found} {}
    ~mask() {
        if (refused_ || kept_) return;
        if (owner_ != in_signal::thread_pointer()) destroyed_elsewhere();
        ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }
    mask(mask const&) = delete;
    mask& operator=(mask const&) = delete;

    failure const& refused() const noexcept { return refused_; }
    // What was there.
    sigset_t const& before() const noexcept { return before_; }
    // The mask stays as it is.
    void keep() noexcept { kept_ = true; }

  private:
    // Neither mask could be right afterwards: the maker's stays as it is, and this thread's is another's
    // business.
    [[noreturn]] static void destroyed_elsewhere() noexcept {
        constexpr char said[] =
            "tocsin: a signal mask was changed by one thread and is put back by another\n";
        in_signal::write(2, said, sizeof said - 1);
        __builtin_abort();
    }

    sigset_t before_;
    // The same in a forked child, whose thread is the copy of the one that called fork.
    std::uintptr_t owner_ = in_signal::thread_pointer();
    failure refused_;
    bool kept_ = false;
};

}  // namespace tocsin::posix
