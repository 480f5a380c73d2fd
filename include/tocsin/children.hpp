// SPDX-License-Identifier: MIT
// Children, each reaped for itself: `child_watch` by descriptor, `reap(pid)` by number.
//
// Runs on any ordinary thread. Nothing here waits for "any child", so a child that another part of the program has
// started keeps its exit status for that part. After a SIGCHLD, look at one's own: reap_each(children, f). The signal
// does not say which: several that end at once may be one signal.
//
// Needs Linux 5.4 (waitid(2) with a descriptor). No exit status is left for anybody under a row `without_zombies()`,
// or if SIGCHLD is ignored (waitpid(2), "Notes").
#pragma once

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tocsin/error.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/traits.hpp>

namespace tocsin {

// What became of a child; false while it runs.
class child_end {
  public:
    constexpr child_end() noexcept = default;
    explicit child_end(siginfo_t const& info) noexcept : pid_{info.si_pid}, how_{info.si_code}, what_{info.si_status} {}
    // The status has gone to somebody else, or nowhere.
    static child_end lost(pid_t pid) noexcept {
        child_end made;
        made.pid_ = pid;
        return made;
    }

    explicit operator bool() const noexcept { return pid_ != 0; }
    pid_t pid() const noexcept { return pid_; }

    bool exited() const noexcept { return how_ == CLD_EXITED; }
    // Its exit status; -1 if it has none.
    int code() const noexcept { return exited() ? what_ : -1; }
    // The signal that ended it; 0 if none did.
    int signal() const noexcept { return how_ == CLD_KILLED || how_ == CLD_DUMPED ? what_ : 0; }
    bool dumped_core() const noexcept { return how_ == CLD_DUMPED; }
    // True if somebody else has reaped it, or the kernel was told to keep no status: there is nothing to know.
    bool was_lost() const noexcept { return pid_ != 0 && how_ == 0; }

  private:
    pid_t pid_ = 0;
    int how_ = 0;
    int what_ = 0;
};

namespace detail {

inline constexpr int by_descriptor = 3;  // P_PIDFD, which not every libc has

// 0 with si_pid 0 while it runs; else an errno. EINTR is never the answer.
inline int wait_for_child(int kind, unsigned id, int options, siginfo_t& info) noexcept {
    info.si_pid = 0;
    while (::waitid(static_cast<idtype_t>(kind), id, &info, options) != 0)
        if (errno != EINTR) return errno;
    return 0;
}

inline child_end end_of_child(int kind, unsigned id, pid_t pid, int options) noexcept {
    siginfo_t info{};
    int const refused = wait_for_child(kind, id, options, info);
    if (refused != 0) return child_end::lost(pid);
    return info.si_pid != 0 ? child_end{info} : child_end{};
}

}  // namespace detail

// Reaps this child if it has ended, and no other. The number must be that of a child that has not been reaped.
inline child_end reap(pid_t pid) noexcept {
    if (pid <= 0) return {};
    return detail::end_of_child(P_PID, static_cast<unsigned>(pid), pid, WEXITED | WNOHANG);
}

// One child, by a descriptor that stays its own when its number has gone to another process. Does nothing to the child
// when it goes; one that nobody reaps stays a zombie.
class child_watch {
  public:
    // Throws tocsin::error (pidfd_open(2)): ESRCH for a process that is not there, EINVAL for a number that is none.
    explicit child_watch(pid_t pid) {
        if (failure const refused = open(pid)) posix::fail(refused);
    }
    // Reports into `ec` instead: 0 for success, else an errno.
    template <class ErrorCode>
        requires detail::error_place<ErrorCode>
    child_watch(ErrorCode& ec, pid_t pid) noexcept {
        ec = open(pid).errno_code;
    }
    child_watch(child_watch&& other) noexcept : pid_{other.pid_}, fd_{other.fd_}, end_{other.end_} { other.fd_ = -1; }
    child_watch& operator=(child_watch&& other) noexcept {
        detail::swap(pid_, other.pid_);
        detail::swap(fd_, other.fd_);
        detail::swap(end_, other.end_);
        return *this;
    }
    ~child_watch() {
        if (fd_ >= 0) ::close(fd_);
    }

    pid_t pid() const noexcept { return pid_; }
    // Readable once the child has ended; the watch owns it. Close-on-exec.
    int fd() const noexcept { return fd_; }

    // What became of it, its status left for whoever is to reap it.
    child_end look() const noexcept { return end_ ? end_ : ask(WEXITED | WNOHANG | WNOWAIT); }
    // Reaps it if it has ended; false if it has not. Once it has, the answer stays the same.
    child_end reap() noexcept { return reaped(WNOHANG); }
    bool is_reaped() const noexcept { return static_cast<bool>(end_); }
    // Sleeps until it has ended, and reaps it. A signal does not end it: to be woken, wait for fd().
    child_end wait() noexcept { return reaped(0); }

    // Sends it a signal, never to another process that has its number by now. False if it has ended.
    bool send(int signal) const noexcept {
        return !end_ && ::syscall(SYS_pidfd_send_signal, fd_, signal, nullptr, 0) == 0;
    }

  private:
    failure open(pid_t pid) noexcept {
        pid_ = pid;
        fd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
        return fd_ >= 0 ? failure{} : failure{errno, "pidfd_open", 0};
    }
    child_end ask(int options) const noexcept {
        if (fd_ < 0) return {};
        return detail::end_of_child(detail::by_descriptor, static_cast<unsigned>(fd_), pid_, options);
    }
    child_end reaped(int options) noexcept {
        if (!end_) end_ = ask(WEXITED | options);
        return end_;
    }

    pid_t pid_ = 0;
    int fd_ = -1;
    child_end end_;
};

// Reaps all of a range of child_watch that have ended since; calls f(child_watch&, child_end const&) for each of them
// once. What f does to the range itself must leave it walkable. Answers how many.
template <class Range, class F>
unsigned reap_each(Range& children, F f) {
    unsigned count = 0;
    for (child_watch& each : children) {
        if (each.is_reaped()) continue;
        child_end const end = each.reap();
        if (!end) continue;
        ++count;
        f(each, end);
    }
    return count;
}

}  // namespace tocsin
