// SPDX-License-Identifier: MIT
// `child_reset()`: a child starts its program with clean signals; `spawn_attributes`: the same for
// posix_spawn.
//
// Between fork and exec. An exec puts handlers back to default by itself (execve(2)), but it hands on what is
// ignored and what is blocked, and until then the parent's handlers run in the child. The library's
// descriptors are closed by exec.
#pragma once

#include <errno.h>
#include <signal.h>
#include <spawn.h>

#include <tocsin/error.hpp>
#include <tocsin/in_signal/system.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/signal_set.hpp>

namespace tocsin {

// Gives every signal its default disposition, but those in `ignored`, which are ignored, and then blocks
// exactly `blocked`. Async-signal-safe, without heap, locks or variables: callable after fork of a threaded
// program, and after vfork, whose child uses its parent's memory. Answers 0, or the errno of the first call
// that was refused (a seccomp filter) after all others have been made. What is pending for the child and was
// blocked is delivered before it returns, as its default.
//
// To give a child what this process was started with, ask before the fork:
//     signal_set const ignored = inherited_ignored(), blocked = inherited_blocked();
//     if (fork() == 0) { child_reset(ignored, blocked); execv(…); }
//
// No handler of the parent runs in a child that was forked with everything blocked; block
// here{blockable_signals} before the fork does that, and child_reset opens them again.
inline int child_reset(signal_set ignored = {}, signal_set blocked = {}) noexcept {
    in_signal::kernel_set const all = ~in_signal::kernel_set{0};
    int result = in_signal::change_mask(SIG_SETMASK, &all, nullptr);
    for (int const signal : catchable_signals) {
        in_signal::kernel_action const wanted{ignored.contains(signal) ? SIG_IGN : SIG_DFL, 0, nullptr, 0};
        int const code = in_signal::change_action(signal, &wanted, nullptr);
        if (result == 0) result = code;
    }
    in_signal::kernel_set const mask = (blocked & catchable_signals).bits();
    int const code = in_signal::change_mask(SIG_SETMASK, &mask, nullptr);
    return -(result != 0 ? result : code);
}

// Attributes with which posix_spawn(3) starts a program with clean signals: posix_spawn(&pid, path, nullptr,
// attributes.native(), argv, environ). Everything starts as default; what is in `keep_ignored` starts ignored
// if it is ignored at the time of the call. Exactly `blocked` is blocked. Throws tocsin::error with ENOMEM,
// or with EINVAL for a set with a number that is no signal.
class spawn_attributes {
  public:
    explicit spawn_attributes(signal_set keep_ignored = {}, signal_set blocked = {}) {
        signal_set const given = keep_ignored | blocked;
        if (!given.valid()) posix::fail({EINVAL, "spawn_attributes", given.invalid()});
        if (int const code = ::posix_spawnattr_init(&native_)) posix::fail({code, "posix_spawnattr_init", 0});
        sigset_t const defaults = (catchable_signals - keep_ignored).native();
        sigset_t const mask = blocked.native();
        ::posix_spawnattr_setsigdefault(&native_, &defaults);
        ::posix_spawnattr_setsigmask(&native_, &mask);
        add_flags(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    }
    ~spawn_attributes() { ::posix_spawnattr_destroy(&native_); }
    spawn_attributes(spawn_attributes const&) = delete;
    spawn_attributes& operator=(spawn_attributes const&) = delete;

    // The child joins this process group; 0 makes it the first of a new one, so that what the terminal sends
    // to the parent's group does not reach it.
    spawn_attributes& in_group(pid_t group = 0) noexcept {
        ::posix_spawnattr_setpgroup(&native_, group);
        add_flags(POSIX_SPAWN_SETPGROUP);
        return *this;
    }

    posix_spawnattr_t* native() noexcept { return &native_; }
    posix_spawnattr_t const* native() const noexcept { return &native_; }

  private:
    void add_flags(int more) noexcept {
        short flags = 0;
        ::posix_spawnattr_getflags(&native_, &flags);
        ::posix_spawnattr_setflags(&native_, static_cast<short>(flags | more));
    }

    posix_spawnattr_t native_;
};

}  // namespace tocsin
