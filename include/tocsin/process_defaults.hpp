// SPDX-License-Identifier: MIT
// `process_defaults here;`: what most programs want of their signals, in one word.
//
// Runs on any ordinary thread; make it early in main, before other threads are started.
//
//     process_defaults here;                           SIGPIPE and SIGXFSZ are ignored, SIGINT asks to end
//     while (!here.interrupted()) serve_one();
//
// Without a table and without the library's threads. A program that wants more writes a guard, beneath which
// this may stay: the guard's rows win while it lives.
#pragma once

#include <errno.h>
#include <signal.h>

#include <tocsin/error.hpp>
#include <tocsin/in_signal/atomic.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/signal_set.hpp>

namespace tocsin {

namespace detail {

// The last signal that asked to end.
[[gnu::visibility("hidden")]] inline in_signal::atomic<int> asked_to_end;

[[gnu::visibility("hidden")]] inline void note_asked_to_end(int signal) noexcept {
    asked_to_end.store(signal);
}

// An empty handler ignores a signal as well as SIG_IGN does, and execve(2) does not hand it on.
[[gnu::visibility("hidden")]] inline void do_nothing(int) noexcept {}

// The errno. A signal that does not ask to end is only survived.
[[gnu::visibility("hidden")]] inline int install_default(int signal, bool asks) noexcept {
    struct sigaction wanted {};
    wanted.sa_handler = asks ? &note_asked_to_end : &do_nothing;
    wanted.sa_flags = asks ? SA_RESTART | static_cast<int>(SA_RESETHAND) : SA_RESTART;
    return ::sigaction(signal, &wanted, nullptr) == 0 ? 0 : errno;
}

inline void (*live_handler(int signal) noexcept)(int) {
    struct sigaction live {};
    return ::sigaction(signal, nullptr, &live) == 0 ? live.sa_handler : SIG_ERR;
}

}  // namespace detail

// Ignores SIGPIPE and SIGXFSZ, so that writes fail with EPIPE and EFBIG instead of ending the process;
// programs that it executes start with the defaults. The signals that ask to end, SIGINT or those that the
// constructor is given, set a flag once and take their default from then on, so that a second one ends a
// program that does not look. A signal that was inherited ignored (nohup(1), a shell's background job) stays
// ignored, and one that somebody handles already stays his. The destructor puts back what was there, unless
// somebody else has changed it meanwhile.
class [[nodiscard]] process_defaults {
  public:
    // Throws tocsin::error (EINVAL) that names the first member that is no signal, a fault, SIGKILL or
    // SIGSTOP.
    explicit process_defaults(signal_set asks_to_end = signal_set{SIGINT}) : asks_{asks_to_end} {
        signal_set const never = asks_ - blockable_signals;
        if (!asks_.valid()) posix::fail({EINVAL, "process_defaults", asks_.invalid()});
        if (!never.empty()) posix::fail({EINVAL, "process_defaults", *never.begin()});
        for (int const signal : asks_ | signal_set{SIGPIPE, SIGXFSZ}) take(signal);
    }
    ~process_defaults() { give_back(); }
    process_defaults(process_defaults const&) = delete;
    process_defaults& operator=(process_defaults const&) = delete;

    // The signal that asked the program to end, the last one if there were several; 0 if none did. Readable
    // from any thread and in handlers.
    int interrupted() const noexcept { return detail::asked_to_end.load_acquire(); }
    // Forgets it, and lets the same signals ask again.
    void clear() noexcept {
        detail::asked_to_end.store(0);
        for (int const signal : taken_ & asks_)
            if (detail::live_handler(signal) == SIG_DFL) detail::install_default(signal, true);
    }

    // The signals that this object has given a handler.
    signal_set taken() const noexcept { return taken_; }
    // Those that were left as they were: ignored since the process was started, or somebody's.
    signal_set left_alone() const noexcept { return left_; }

  private:
    // Only what is default is taken, so that is what is given back.
    void take(int signal) {
        if (detail::live_handler(signal) != SIG_DFL) return left_.add(signal);
        if (int const code = detail::install_default(signal, asks_.contains(signal))) {
            give_back();
            posix::fail({code, "sigaction", signal});
        }
        taken_.add(signal);
    }

    void give_back() noexcept {
        for (int const signal : taken_) {
            auto* const ours = asks_.contains(signal) ? &detail::note_asked_to_end : &detail::do_nothing;
            if (detail::live_handler(signal) == ours) ::signal(signal, SIG_DFL);
        }
        if (!(taken_ & asks_).empty()) detail::asked_to_end.store(0);
    }

    signal_set asks_;
    signal_set taken_;
    signal_set left_;
};

}  // namespace tocsin
