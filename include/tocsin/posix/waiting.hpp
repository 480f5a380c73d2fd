// SPDX-License-Identifier: MIT
// Taking a pending signal, and sleeping until a handler has run.
//
// Runs on any ordinary thread. Cancellation points. Through sigtimedwait(3) and ppoll(2) of libc and not the
// bare system calls: sanitizers and cancellation want to know about them.
#pragma once

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <tocsin/posix/duration_refusal.hpp>
#include <tocsin/posix/mask.hpp>
#include <tocsin/posix/moment.hpp>
#include <tocsin/signal_set.hpp>

namespace tocsin::posix {

// Why nobody can wait for this set. Names the first member that is no signal, or never comes.
inline failure waiting_refusal(signal_set of, char const* word, char const* nothing) noexcept {
    if (!of.valid()) return {EINVAL, word, of.invalid()};
    if (of.empty()) return {EINVAL, nothing, 0};
    signal_set const never_come = of - catchable_signals;
    return never_come.empty() ? failure{} : failure{EINVAL, word, *never_come.begin()};
}

inline signals_in to_signals_in(signal_set of) noexcept {
    signals_in set;
    for (int const signal : of) set.add(signal);
    return set;
}

// What came of a wait.
struct taken {
    siginfo_t info{};
    bool some = false;
    failure refused{};
};

// Takes one signal of the set, which the thread blocks, before the moment. Once the moment has come it looks
// a last time without waiting, so that a signal that was there is never missed.
template <class Moment>
taken take_before(sigset_t const& set, Moment const& moment) {
    taken result;
    for (;;) {
        std::uint64_t const left = moment.left();
        timespec const limit = to_timespec(left);
        int const got = ::sigtimedwait(&set, &result.info, Moment::ends ? &limit : nullptr);
        if (got > 0) {
            result.some = true;
            return result;
        }
        bool const again = errno == EINTR || (errno == EAGAIN && left != 0);
        if (again) continue;
        if (errno != EAGAIN) result.refused = {errno, "sigtimedwait", 0};
        return result;
    }
}

// The same for signals that the thread need not block: they are blocked meanwhile. What it had blocked before needs no
// opening: one system call less.
template <class Moment>
taken wait_for_one(signal_set set, Moment const& moment) {
    mask meanwhile{to_signals_in(set)};
    if (meanwhile.refused()) return {{}, false, meanwhile.refused()};
    if ((set - signal_set{meanwhile.before()}).empty()) meanwhile.keep();
    return take_before(set.native(), moment);
}

// What a sleep ended with.
enum class woken : unsigned char { by_handler, by_descriptor, by_time };

// Sleeps with another mask until a handler has run, one of the descriptors is ready, or the moment has come.
// The kernel changes the mask and looks for signals in one step, so that one that was pending before ends the
// sleep at once. (poll(2), "ppoll()"; it is never restarted after a handler, signal(7).)
template <class Moment>
failure sleep_with(sigset_t const* during, pollfd* fds, nfds_t count, Moment const& moment, woken& by) {
    for (;;) {
        std::uint64_t const left = moment.left();
        timespec const limit = to_timespec(left);
        int const ready = ::ppoll(fds, count, Moment::ends ? &limit : nullptr, during);
        if (ready > 0) return by = woken::by_descriptor, failure{};
        if (ready < 0 && errno == EINTR) return by = woken::by_handler, failure{};
        if (ready < 0) return {errno, "ppoll", 0};
        if (left == 0) return by = woken::by_time, failure{};
    }
}

// Sleeps with signals open that the thread blocks otherwise. One that it does not block may have come just
// before: then nothing would end the sleep.
template <class Moment>
failure sleep_open(signal_set set, pollfd* fds, nfds_t count, Moment const& moment, woken& by) {
    if (failure const refused = waiting_refusal(set, "wait_handler", "wait_handler(empty set)"))
        return refused;
    sigset_t during;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &during);
    signal_set const open = set - signal_set{during};
    if (!open.empty()) return {EINVAL, "wait_handler: not blocked", *open.begin()};
    for (int const signal : set) ::sigdelset(&during, signal);
    return sleep_with(&during, fds, count, moment, by);
}

// Closes what it holds, also when the thread is cancelled.
class owned_descriptor {
  public:
    explicit owned_descriptor(int fd) noexcept : fd_{fd} {}
    ~owned_descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    owned_descriptor(owned_descriptor const&) = delete;
    owned_descriptor& operator=(owned_descriptor const&) = delete;

    int fd() const noexcept { return fd_; }

  private:
    int fd_;
};

}  // namespace tocsin::posix
