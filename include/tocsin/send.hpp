// SPDX-License-Identifier: MIT
// `send_signal(to, sig)` and `send_value(to, sig, value)`: to a process, a process group, a thread, or to
// whom a pidfd means.
//
// Runs on any ordinary thread. `to` is one of
//     pid            the process with this number: right for one's own child not yet waited for; any
//                    other number can be another's by now
//     process_ref    a process, never a later one with its number
//     pidfd_view     the same, by a descriptor that the program keeps
//     thread_ref     a thread of this process, never a later one
//     process_group  all processes of a group
// Signals are those of this system, ints or rt<N>; 0 sends nothing and asks whether one could. All throw
// tocsin::error: EINVAL for what is no signal or no target, ESRCH if nobody is there, EPERM if the kernel
// does not allow it, EAGAIN if the queue of real-time signals is full (RLIMIT_SIGPENDING). With an `ec` in
// front they report there instead.
#pragma once

#include <errno.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <tocsin/error.hpp>
#include <tocsin/posix/pidfd.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/posix/thread_start.hpp>
#include <tocsin/signal_set.hpp>
#include <tocsin/traits.hpp>

namespace tocsin {

namespace detail {

// What a receiver finds in delivery::value() and pointer().
struct payload {
    payload(int number) noexcept { value.sival_int = number; }
    payload(void* pointer) noexcept { value.sival_ptr = pointer; }
    payload(sigval given) noexcept : value{given} {}

    sigval value{.sival_ptr = nullptr};  // all of it, whichever part is set
};

// As sigqueue(3) makes it.
inline siginfo_t make_info(int signal, payload const& with) noexcept {
    siginfo_t info;
    __builtin_memset(&info, 0, sizeof info);
    info.si_signo = signal;
    info.si_code = SI_QUEUE;
    info.si_pid = ::getpid();
    info.si_uid = ::getuid();
    info.si_value = with.value;
    return info;
}

// A process by its number. 0 and negative numbers would mean groups, and -1 everybody.
struct numbered_process {
    pid_t id;

    failure send(int signal, siginfo_t const* info) const noexcept {
        if (id <= 0) return {EINVAL, "send_signal: not a process", signal};
        if (info == nullptr) return {::kill(id, signal) == 0 ? 0 : errno, "kill", signal};
        long const result = in_signal::system_call(SYS_rt_sigqueueinfo, id, signal, in_signal::as_word(info));
        return {-static_cast<int>(result), "sigqueue", signal};
    }
};

}  // namespace detail

// All processes of a group. The kernel takes no value along to a group: send_value is refused by the
// compiler.
struct process_group {
    pid_t id;

    // The one that the calling process is in.
    static process_group current() noexcept { return {::getpgrp()}; }

    // Group 1 as an argument of kill(2) would be -1, which means every process.
    failure send(int signal) const noexcept {
        if (id <= 1) return {EINVAL, "send_signal: not a process group", signal};
        return {::kill(-id, signal) == 0 ? 0 : errno, "kill", signal};
    }
};

// Whom a descriptor from pidfd_open(2) or clone(2) means. Borrowed: whoever made it closes it. EBADF for any
// other.
struct pidfd_view {
    int fd;

    failure send(int signal, siginfo_t const* info) const noexcept {
        return {posix::send_to_pidfd(fd, signal, info), "pidfd_send_signal", signal};
    }
};

// A process, whatever becomes of its number. Readable in poll(2) once the process has ended; closed by exec;
// moves.
class process_ref {
  public:
    // Throws tocsin::error: ESRCH if there is no such process, EINVAL for what is none (the number of a
    // thread, 0), EMFILE, ENFILE, ENOMEM, and ENOSYS on a kernel before 5.3. A child that has not been waited
    // for is sure to be the one meant.
    explicit process_ref(pid_t id) {
        int const fd = posix::open_pidfd(id, 0);
        if (fd < 0) posix::fail({-fd, "pidfd_open", 0});
        own_ = posix::pidfd{fd};
    }
    // Takes over a descriptor from pidfd_open(2), or from clone(2) with CLONE_PIDFD.
    static process_ref adopt(int fd) noexcept { return process_ref{posix::pidfd{fd}}; }

    int fd() const noexcept { return own_.fd(); }
    // Gives the descriptor away.
    int release() noexcept { return own_.release(); }

    failure send(int signal, siginfo_t const* info) const noexcept {
        return pidfd_view{fd()}.send(signal, info);
    }
    // To the process group that this process leads. EINVAL on a kernel before 6.9.
    failure send_to_group(int signal) const noexcept {
        return {posix::send_to_pidfd(fd(), signal, nullptr, posix::pidfd_signal_group), "pidfd_send_signal",
                signal};
    }

  private:
    explicit process_ref(posix::pidfd own) noexcept : own_{static_cast<posix::pidfd&&>(own)} {}

    posix::pidfd own_;
};

// A thread of this process. From Linux 6.9 on it is held by a descriptor, and a signal never reaches another.
// Before, or where a filter refuses that, the signal goes by number and process id (tgkill(2)), so never to
// another process, and only if the thread that has the number was started when this one was, to the tick of
// 10 ms. What is left there is that the thread ends and a new one of this process gets its number between
// that look and the signal, or within the same tick; the kernel has to count once around for it.
// In a forked child it means the parent's thread. Closed by exec; moves.
class thread_ref {
  public:
    // By the kernel's number, gettid(2). Throws tocsin::error: ESRCH if this process has no such thread,
    // EMFILE, ENFILE, ENOMEM.
    explicit thread_ref(pid_t id) : id_{id}, process_{::getpid()} {
        if (failure const refused = open()) posix::fail(refused);
    }
    static thread_ref current() { return thread_ref{in_signal::gettid()}; }

    pid_t id() const noexcept { return id_; }
    // True if a descriptor holds it.
    bool exact() const noexcept { return own_.fd() >= 0; }

    failure send(int signal, siginfo_t const* info) const noexcept {
        if (exact()) return {posix::send_to_pidfd(own_.fd(), signal, info), "pidfd_send_signal", signal};
        if (start_ != 0 && posix::start_of_thread(process_, id_) != start_) return {ESRCH, "tgkill", signal};
        int const result = info == nullptr ? in_signal::tgkill(process_, id_, signal)
                                           : in_signal::queue_to_thread(process_, id_, signal, info);
        return {-result, info == nullptr ? "tgkill" : "rt_tgsigqueueinfo", signal};
    }

  private:
    failure open() noexcept {
        if (id_ <= 0) return {EINVAL, "thread_ref", 0};
        int const fd = posix::open_pidfd(id_, posix::pidfd_thread);
        own_ = posix::pidfd{fd < 0 ? -1 : fd};
        // as the kernel says that it knows no such flag or call, or a filter
        bool const without = fd == -EINVAL || fd == -ENOSYS || fd == -EPERM || fd == -EACCES;
        if (fd < 0 && !without) return {-fd, "pidfd_open", 0};
        if (without) start_ = posix::start_of_thread(process_, id_);
        return {-in_signal::tgkill(process_, id_, 0), "tgkill", 0};
    }

    pid_t id_;
    pid_t process_;
    posix::pidfd own_{};
    std::uint64_t start_ = 0;
};

namespace detail {

template <class To>
concept target = requires(To const& to, siginfo_t const* info) {
    to.send(0, info).errno_code;
};

inline failure check_signal(int signal) noexcept {
    bool const known = signal == 0 || valid_signals().contains(signal);
    return known ? failure{} : failure{EINVAL, "send_signal", signal};
}

template <class To>
failure send(To const& to, int signal) noexcept {
    if (failure const refused = check_signal(signal)) return refused;
    if constexpr (target<To>)
        return to.send(signal, nullptr);
    else
        return to.send(signal);
}

template <class To>
failure send(To const& to, int signal, payload const& with) noexcept {
    static_assert(target<To>,
                  "tocsin: no value goes to a process group; send it to each process, or use send_signal");
    if (failure const refused = check_signal(signal)) return refused;
    siginfo_t const info = make_info(signal, with);
    if constexpr (target<To>)
        return to.send(signal, &info);
    else
        return {};
}

template <class To>
concept sendable = target<To> || same<To, process_group>;

inline void fail_unless_sent(failure const& refused) {
    if (refused) posix::fail(refused);
}

}  // namespace detail

inline void send_signal(pid_t to, int signal) {
    detail::fail_unless_sent(detail::send(detail::numbered_process{to}, signal));
}
template <detail::sendable To>
void send_signal(To const& to, int signal) {
    detail::fail_unless_sent(detail::send(to, signal));
}

// With a value, which the receiver reads in delivery::value() or pointer(). Real-time signals arrive once for
// each time that they were sent, in order; of a standard signal that is pending already the value is lost
// (sigqueue(3)).
inline void send_value(pid_t to, int signal, detail::payload value) {
    detail::fail_unless_sent(detail::send(detail::numbered_process{to}, signal, value));
}
template <detail::sendable To>
void send_value(To const& to, int signal, detail::payload value) {
    detail::fail_unless_sent(detail::send(to, signal, value));
}

// To the process group that a process leads, without hitting a later one with its number. Throws EINVAL on a
// kernel before 6.9.
inline void send_to_group(process_ref const& leader, int signal) {
    if (failure const refused = detail::check_signal(signal)) posix::fail(refused);
    detail::fail_unless_sent(leader.send_to_group(signal));
}

// Report into `ec` instead: 0 for success, else an errno.
template <class ErrorCode>
    requires detail::error_place<ErrorCode>
void send_signal(ErrorCode& ec, pid_t to, int signal) {
    ec = detail::send(detail::numbered_process{to}, signal).errno_code;
}
template <class ErrorCode, detail::sendable To>
    requires detail::error_place<ErrorCode>
void send_signal(ErrorCode& ec, To const& to, int signal) { ec = detail::send(to, signal).errno_code; }
template <class ErrorCode>
    requires detail::error_place<ErrorCode>
void send_value(ErrorCode& ec, pid_t to, int signal, detail::payload value) {
    ec = detail::send(detail::numbered_process{to}, signal, value).errno_code;
}
template <class ErrorCode, detail::sendable To>
    requires detail::error_place<ErrorCode>
void send_value(ErrorCode& ec, To const& to, int signal, detail::payload value) {
    ec = detail::send(to, signal, value).errno_code;
}

}  // namespace tocsin
