// SPDX-License-Identifier: MIT
// Every system call of a scenario fails once, with each errno that it may have, and is interrupted once by a signal;
// what comes of it is a clear error or a thing that works, and nothing is left behind.
//
// Runs on any ordinary thread of a test program. TOCSIN_TEST_TELL in the environment makes it tell how many runs it
// took.
#pragma once

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "support/call_supervisor.hpp"
#include "support/catch.hpp"

namespace tocsin::test {

// --- What may go wrong ----------------------------------------------------------------------------------------------

struct known_call {
    long number;
    char const* name;
    bool can_be_interrupted;  // signal(7), "Interruption of system calls and library functions by signal handlers"
    std::vector<int> errors;  // of the manual page, that correct arguments can have; EPERM and ENOSYS from a sandbox
};

inline std::vector<known_call> const known_calls{
    {SYS_mmap, "mmap", false, {ENOMEM, EAGAIN}},
    {SYS_mprotect, "mprotect", false, {ENOMEM, EACCES}},
    {SYS_munmap, "munmap", false, {ENOMEM}},
    {SYS_madvise, "madvise", false, {EAGAIN}},
    {SYS_openat, "openat", true, {EMFILE, ENFILE, ENOENT, EACCES, ENOMEM}},
    {SYS_read, "read", true, {EINTR, EIO}},
    {SYS_pread64, "pread64", true, {EINTR, EIO}},
    {SYS_write, "write", true, {EINTR, EAGAIN, EIO}},
    {SYS_close, "close", false, {EINTR, EIO}},
    {SYS_fcntl, "fcntl", false, {EMFILE, EINVAL}},
    {SYS_fstat, "fstat", false, {ENOMEM}},
    {SYS_newfstatat, "newfstatat", false, {ENOMEM, EACCES}},
    {SYS_statx, "statx", false, {ENOSYS, EPERM}},
    {SYS_getdents64, "getdents64", false, {EIO}},
    {SYS_readlinkat, "readlinkat", false, {EACCES, ENOMEM}},
    {SYS_unlinkat, "unlinkat", false, {EACCES}},
    {SYS_eventfd2, "eventfd2", false, {EMFILE, ENFILE, ENODEV, ENOMEM}},
    {SYS_timerfd_create, "timerfd_create", false, {EMFILE, ENFILE, ENODEV, ENOMEM}},
    {SYS_timerfd_settime, "timerfd_settime", false, {EPERM}},
    {SYS_timer_create, "timer_create", false, {EAGAIN, ENOMEM, EPERM}},
    {SYS_timer_settime, "timer_settime", false, {EPERM}},
    {SYS_timer_delete, "timer_delete", false, {EPERM}},
    {SYS_setitimer, "setitimer", false, {EPERM}},
    {SYS_getitimer, "getitimer", false, {EPERM}},
    {SYS_rt_sigaction, "rt_sigaction", false, {EPERM}},
    {SYS_rt_sigprocmask, "rt_sigprocmask", false, {}},
    {SYS_rt_sigtimedwait, "rt_sigtimedwait", true, {EINTR}},
    {SYS_rt_sigpending, "rt_sigpending", false, {}},
    {SYS_sigaltstack, "sigaltstack", false, {ENOMEM, EPERM}},
    {SYS_clone, "clone", false, {EAGAIN, ENOMEM, EPERM}},
    {SYS_clone3, "clone3", false, {EAGAIN, ENOMEM, ENOSYS}},
    {SYS_prctl, "prctl", false, {EPERM}},
    {SYS_futex, "futex", true, {}},
    {SYS_tgkill, "tgkill", false, {EAGAIN, EPERM}},
    {SYS_rt_tgsigqueueinfo, "rt_tgsigqueueinfo", false, {EAGAIN, EPERM}},
    {SYS_ppoll, "ppoll", true, {EINTR, ENOMEM}},
    {SYS_clock_nanosleep, "clock_nanosleep", true, {EINTR}},
    {SYS_waitid, "waitid", true, {EINTR}},
    {SYS_wait4, "wait4", true, {EINTR}},
    {SYS_pidfd_open, "pidfd_open", false, {EMFILE, ENFILE, ENODEV, ENOMEM, ENOSYS}},
    {SYS_signalfd4, "signalfd4", false, {EMFILE, ENFILE, ENODEV, ENOMEM}},
    {SYS_socket, "socket", false, {EMFILE, ENFILE, ENOMEM, EACCES}},
    {SYS_bind, "bind", false, {EADDRINUSE, EACCES, ENOMEM}},
    {SYS_listen, "listen", false, {EADDRINUSE}},
    {SYS_fchmod, "fchmod", false, {EPERM}},
    {SYS_inotify_init1, "inotify_init1", false, {EMFILE, ENOMEM}},
    {SYS_inotify_add_watch, "inotify_add_watch", false, {ENOSPC, ENOMEM, EACCES}},
    {SYS_shutdown, "shutdown", false, {ENOTCONN}},
    {SYS_getsockopt, "getsockopt", false, {ENOMEM}},
    {SYS_ioctl, "ioctl", false, {ENOTTY}},
    {SYS_membarrier, "membarrier", false, {ENOSYS, EPERM}},
    {SYS_sched_getaffinity, "sched_getaffinity", false, {}},
    {SYS_prlimit64, "prlimit64", false, {EPERM}},
    {SYS_getrandom, "getrandom", true, {EINTR, EAGAIN}},
#ifdef SYS_poll
    {SYS_poll, "poll", true, {EINTR, ENOMEM}},
    {SYS_open, "open", true, {EMFILE, ENOENT, EACCES}},
    {SYS_readlink, "readlink", false, {EACCES}},
    {SYS_unlink, "unlink", false, {EACCES}},
    {SYS_access, "access", false, {EACCES}},
#endif
};

inline known_call const* find_call(long number) {
    for (auto const& each : known_calls)
        if (each.number == number) return &each;
    return nullptr;
}
inline std::string name_of(long number) {
    known_call const* const known = find_call(number);
    return known != nullptr ? known->name : "call " + std::to_string(number);
}

// --- What must be as before -----------------------------------------------------------------------------------------

// A disposition, stack or descriptor that cannot be put back because the very call for it was refused.
inline bool is_excused(long refused, char const* what) {
    std::string const thing = what;
    if (refused == SYS_rt_sigaction) return thing == "disposition";
    if (refused == SYS_sigaltstack) return thing == "alternate stack";
    if (refused == SYS_close) return thing == "descriptors";
    if (refused == SYS_timer_delete) return thing == "timers";
    // What cannot be recognised as ours any more is not closed, or written to.
    if (refused == SYS_fstat) return thing == "descriptors" || thing == "threads of the library";
    return false;
}

// What differs from before, unless it also does in a run in which nothing failed.
inline std::vector<std::string> changes(supervised_run const& run, supervised_run const& whole) {
    std::vector<std::string> found;
    process_state const& before = run.before;
    process_state const& after = run.after;
    for (int number = 1; number < NSIG; ++number)
        if (!same_action(before.actions[number], after.actions[number]) &&
            !same_action(whole.after.actions[number], after.actions[number]))
            found.push_back("disposition");
    if (!same_mask(before.mask, after.mask)) found.push_back("mask");
    bool const kept_whole = whole.after.stack.ss_flags == after.stack.ss_flags;
    if (before.stack.ss_flags != after.stack.ss_flags && !kept_whole) found.push_back("alternate stack");
    if (after.descriptors > before.descriptors && after.descriptors > whole.after.descriptors)
        found.push_back("descriptors");
    if (after.own_threads > whole.after.own_threads) found.push_back("threads of the library");
    if (after.foreign_threads > before.foreign_threads) found.push_back("threads");
    if (after.timers > before.timers && after.timers > whole.after.timers) found.push_back("timers");
    return found;
}

struct verdict {
    std::vector<std::string> problems;
    unsigned runs = 0;
    unsigned refused = 0;
    unsigned went_on = 0;
};

inline std::string describe(injection const& wanted) {
    std::string const what = wanted.error != 0 ? std::string{::strerrorname_np(wanted.error)} : "a signal";
    return name_of(wanted.number) + "#" + std::to_string(wanted.occurrence) + " " + what + ": ";
}

inline void judge(injection const& wanted, supervised_run const& run, supervised_run const& whole, verdict& to) {
    ++to.runs;
    auto const problem = [&](std::string const& text) { to.problems.push_back(describe(wanted) + text); };
    if (run.how == ending::none) return problem("did not end: " + run.result.describe());
    if (run.how == ending::other_exception) return problem("another exception");
    if (run.how == ending::useless) return problem("does not work, and did not say so");
    if (run.how == ending::refused) {
        ++to.refused;
        if (wanted.error == 0 && run.code != EINTR) problem("refused for a signal: " + run.what);
        bool const clear = run.code > 0 && !run.call.empty() && run.what.find(run.call) != std::string::npos &&
                           run.what.find(std::strerror(run.code)) != std::string::npos;
        if (!clear) problem("not clear: " + run.what);
    } else {
        ++to.went_on;
    }
    for (auto const& each : changes(run, whole))
        if (wanted.error == 0 || !is_excused(wanted.number, each.c_str())) problem(each + " (" + run.what + ")");
}

// `left_out`: calls that cannot fail in this scenario, whatever their manual page says.
template <class Scenario>
verdict try_every_call(Scenario scenario, std::set<long> const& left_out) {
    verdict to;
    supervised_run const whole = supervise({}, scenario);
    if (whole.how != ending::built) {
        to.problems.push_back("with nothing refused: " + whole.what + whole.result.describe());
        return to;
    }
    for (auto const& each : whole.calls) {
        known_call const* const known = find_call(each.number);
        bool const memory_of_libc = each.number == SYS_brk;  // answers the old end instead of an errno
        if (known == nullptr) {
            if (!memory_of_libc) to.problems.push_back("a call that is not listed: " + std::to_string(each.number));
            continue;
        }
        if (left_out.count(each.number) != 0) continue;
        for (int const error : known->errors) {
            if (each.number == SYS_fcntl && each.arguments[1] != F_DUPFD_CLOEXEC && error == EMFILE) continue;
            injection const wanted{each.number, each.occurrence, error, true};
            judge(wanted, supervise(wanted, scenario), whole, to);
        }
        injection const wanted{each.number, each.occurrence, 0, !known->can_be_interrupted};
        judge(wanted, supervise(wanted, scenario), whole, to);
    }
    return to;
}

template <class Scenario>
void require_of_every_call(Scenario scenario, std::set<long> const& left_out = {}) {
    if (!can_supervise()) {
        WARN("left out: no seccomp filter that notifies, no pidfd_getfd, or a sanitizer");
        return;
    }
    verdict const found = try_every_call(scenario, left_out);
    std::string all;
    for (auto const& each : found.problems) all += each + "\n";
    INFO(found.runs << " runs, " << found.refused << " refused, " << found.went_on << " went on");
    if (std::getenv("TOCSIN_TEST_TELL") != nullptr)
        WARN(found.runs << " runs, " << found.refused << " refused, " << found.went_on << " went on");
    CHECK(all == "");
    CHECK(found.runs > 0);
}

// Waits for a condition, and answers whether it came true.
template <class Condition>
bool soon(Condition condition) {
    for (int look = 0; look < 4000; ++look) {
        if (condition()) return true;
        timespec const moment{0, 500'000};
        ::nanosleep(&moment, nullptr);
    }
    return false;
}

// A pipe that does not wait, closed also if the scenario ends by an error.
class both_ends {
  public:
    both_ends() { require_in_child(::pipe2(of_, O_CLOEXEC | O_NONBLOCK) == 0); }
    ~both_ends() {
        close(0);
        close(1);
    }
    both_ends(both_ends const&) = delete;
    both_ends& operator=(both_ends const&) = delete;

    int operator[](int which) const { return of_[which]; }
    void close(int which) {
        if (of_[which] >= 0) ::close(std::exchange(of_[which], -1));
    }

  private:
    int of_[2];
};

}  // namespace tocsin::test
