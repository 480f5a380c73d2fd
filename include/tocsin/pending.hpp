// SPDX-License-Identifier: MIT
// `pending(set)`: which signals have been sent and wait to be delivered, because the thread blocks them.
//
// Runs on any ordinary thread. What the kernel merged counts once. The answers are about the moment of the
// question: another thread may take a process-directed signal at any time.
#pragma once

#include <errno.h>
#include <signal.h>

#include <tocsin/error.hpp>
#include <tocsin/posix/process_status.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/signal_set.hpp>

namespace tocsin {

namespace detail {

struct pending_fields {
    signal_set thread;
    signal_set process;
};

inline failure read_pending(pending_fields& into) noexcept {
    posix::status_mask fields[] = {{"SigPnd:"}, {"ShdPnd:"}};
    if (failure const refused = posix::read_status("/proc/thread-self/status", fields, 2)) return refused;
    into = {signal_set::of_bits(fields[0].mask), signal_set::of_bits(fields[1].mask)};
    return {};
}

inline pending_fields pending_now(signal_set of) {
    if (!of.valid()) posix::fail({EINVAL, "pending", of.invalid()});
    pending_fields now;
    if (failure const refused = read_pending(now)) posix::fail(refused);
    return {now.thread & of, now.process & of};
}

}  // namespace detail

// The members of the set that are pending for the calling thread, whether sent to it or to the process: what
// it blocks, and what would be delivered if it did not (sigpending(2)). True in a condition if there is one.
// Throws tocsin::error (EINVAL) for a set with a number that is no signal.
inline signal_set pending(signal_set of) {
    if (!of.valid()) posix::fail({EINVAL, "pending", of.invalid()});
    sigset_t now;
    if (::sigpending(&now) != 0) posix::fail({errno, "sigpending", 0});
    return signal_set{now} & of;
}

// Any signals.
inline signal_set pending() { return pending(valid_signals()); }

// The two kinds apart: those that were sent to this thread, which nobody else can take, and those that were
// sent to the process, which any thread takes that does not block them. Both need /proc: they throw
// tocsin::error with the errno of its absence. A signal can be pending in both.
inline signal_set pending_in_thread(signal_set of) { return detail::pending_now(of).thread; }
inline signal_set pending_in_thread() { return pending_in_thread(valid_signals()); }
inline signal_set pending_in_process(signal_set of) { return detail::pending_now(of).process; }
inline signal_set pending_in_process() { return pending_in_process(valid_signals()); }

}  // namespace tocsin
