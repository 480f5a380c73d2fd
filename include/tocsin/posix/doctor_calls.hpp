// SPDX-License-Identifier: MIT
// The self-check's trial of the system calls that reports make: a seccomp filter may refuse them.
//
// Runs on any ordinary thread. Each call is made in a way that changes nothing: signal 0, a descriptor of -1, a set
// without signals, no time to wait. Where a filter is in force it may also answer with the end of the process; then
// the calls are tried in a child, which says nothing when it ends (clone(2), an exit signal of 0). A filter that ends
// whoever makes a process is the one thing that is not survived.
#pragma once

#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tocsin/posix/doctor_lines.hpp>
#include <tocsin/posix/table_lock.hpp>

namespace tocsin::posix {

// One call. `normal` is the error that it answers where it is allowed, 0 if it succeeds; so is `also`.
struct call_trial {
    char const* call;
    long (*make)() noexcept;
    int normal;
    int also;
    char const* cost;     // what a report lacks without it
    bool spared = false;  // the self-check does without it
};

namespace detail {

using in_signal::as_word;
using in_signal::system_call;

inline long try_tgkill() noexcept { return in_signal::tgkill(in_signal::getpid(), in_signal::gettid(), 0); }

inline long try_queue() noexcept {
    siginfo_t info{};
    info.si_code = SI_QUEUE;
    return in_signal::queue_to_thread(in_signal::getpid(), in_signal::gettid(), 0, &info);
}

inline long try_open() noexcept {
    int const fd = in_signal::openat(AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) in_signal::close(fd);
    return fd;
}

inline long try_timer() noexcept {
    sigevent silent{};
    silent.sigev_notify = SIGEV_NONE;
    int made = -1;
    long const result = system_call(SYS_timer_create, CLOCK_MONOTONIC, as_word(&silent), as_word(&made));
    if (result == 0) system_call(SYS_timer_delete, made);
    return result;
}

inline long try_mask() noexcept {
    in_signal::kernel_set const word = 0;
    return in_signal::change_mask(-1, &word, nullptr);
}

inline long try_wait() noexcept {
    in_signal::kernel_set const none = 0;
    timespec const at_once{};
    return system_call(SYS_rt_sigtimedwait, as_word(&none), 0, as_word(&at_once), sizeof none);
}

inline long try_pending() noexcept {
    in_signal::kernel_set pending = 0;
    return system_call(SYS_rt_sigpending, as_word(&pending), sizeof pending);
}

inline long try_action() noexcept {
    in_signal::kernel_action live{};
    return in_signal::change_action(SIGSEGV, nullptr, &live);
}

inline long try_stack() noexcept {
    stack_t now{};
    return system_call(SYS_sigaltstack, 0, as_word(&now));
}

inline long try_poll() noexcept {
    timespec at_once{};
    return system_call(SYS_ppoll, 0, 0, as_word(&at_once), 0, sizeof(in_signal::kernel_set));
}

inline long try_sleep() noexcept {
    timespec const at_once{};
    return system_call(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, as_word(&at_once), 0);
}

inline long try_clock() noexcept {
    timespec now{};
    return system_call(SYS_clock_gettime, CLOCK_MONOTONIC, as_word(&now));
}

inline long try_futex() noexcept {
    std::uint32_t word = 0;
    return in_signal::futex_wake(&word, 1);
}

inline long try_barrier() noexcept { return system_call(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0); }

inline long try_link() noexcept {
    char name[24];
    return system_call(SYS_readlinkat, AT_FDCWD, as_word("/proc/self"), as_word(name), sizeof name);
}

inline long try_limit() noexcept {
    rlimit limit{};
    return system_call(SYS_prlimit64, 0, RLIMIT_CORE, 0, as_word(&limit));
}

// The number is the same on every architecture (Linux 5.8); older headers do not name it.
inline constexpr long faccessat2_number = 439;

inline long try_access() noexcept { return system_call(faccessat2_number, AT_FDCWD, as_word("/"), F_OK, 0); }

inline long try_stat() noexcept {
    struct stat found {};
    return system_call(SYS_newfstatat, AT_FDCWD, as_word("/"), as_word(&found), 0);
}

template <long Call>
long try_without_descriptor() noexcept {
    return system_call(Call, -1, 0, 0, 0, 0);
}

}  // namespace detail

[[gnu::visibility("hidden")]] inline constexpr char const threads_lost[] =
    "running threads cannot be asked for stacks";
[[gnu::visibility("hidden")]] inline constexpr char const names_lost[] = "no threads, names or files";
[[gnu::visibility("hidden")]] inline constexpr char const bounds_lost[] = "waiting may not be bounded";
[[gnu::visibility("hidden")]] inline constexpr char const text_lost[] = "a report may not be written";

// The first of them is what the self-check speaks by.
[[gnu::visibility("hidden")]] inline constexpr call_trial call_trials[] = {
    {"write", &detail::try_without_descriptor<SYS_write>, EBADF, 0, text_lost},
    {"rt_sigprocmask", &detail::try_mask, EINVAL, 0, "memory cannot be read with care"},
    {"rt_sigaction", &detail::try_action, 0, 0, "a crash cannot be given back to the system"},
    {"rt_sigpending", &detail::try_pending, 0, 0, "a broken pipe may raise SIGPIPE"},
    {"rt_sigtimedwait", &detail::try_wait, EAGAIN, EINTR, "a broken pipe may raise SIGPIPE"},
    {"sigaltstack", &detail::try_stack, 0, 0, "a stack that overflows is not reported"},
    {"tgkill", &detail::try_tgkill, 0, 0, threads_lost, true},
    {"rt_tgsigqueueinfo", &detail::try_queue, 0, 0, "the core may lack the cause", true},
    {"openat", &detail::try_open, ENOENT, EMFILE, names_lost},
    {"readlinkat", &detail::try_link, ENOENT, 0, names_lost},
    {"getdents64", &detail::try_without_descriptor<SYS_getdents64>, EBADF, 0,
     "only the calling thread is shown"},
    {"read", &detail::try_without_descriptor<SYS_read>, EBADF, 0, names_lost},
    {"pread64", &detail::try_without_descriptor<SYS_pread64>, EBADF, 0, names_lost},
    {"sendto", &detail::try_without_descriptor<SYS_sendto>, EBADF, 0, "nothing is written to sockets"},
    {"getsockopt", &detail::try_without_descriptor<SYS_getsockopt>, EBADF, 0,
     "nothing is written to sockets"},
    {"close", &detail::try_without_descriptor<SYS_close>, EBADF, 0, "descriptors are used up"},
    {"fstat", &detail::try_without_descriptor<SYS_fstat>, EBADF, 0, text_lost},
    {"fcntl", &detail::try_without_descriptor<SYS_fcntl>, EBADF, 0, text_lost},
    {"ioctl", &detail::try_without_descriptor<SYS_ioctl>, EBADF, 0, "a stopped terminal may hold a report"},
    {"ppoll", &detail::try_poll, 0, EINTR, bounds_lost},
    {"futex", &detail::try_futex, 0, 0, bounds_lost},
    {"clock_gettime", &detail::try_clock, 0, 0, bounds_lost},
    {"clock_nanosleep", &detail::try_sleep, 0, EINTR, bounds_lost},
    {"timer_create", &detail::try_timer, EAGAIN, 0, "timers cannot be made", true},
    {"membarrier", &detail::try_barrier, ENOSYS, 0, "deliveries and deadlines cost more", true},
    {"fstatfs", &detail::try_without_descriptor<SYS_fstatfs>, EBADF, 0,
     "a full disk is not noticed beforehand"},
    {"prlimit64", &detail::try_limit, 0, 0, "limits are not known"},
    {"newfstatat", &detail::try_stat, 0, 0, "directories cannot be tried"},
    {"faccessat2", &detail::try_access, ENOSYS, 0, "directories cannot be tried"},
};
inline constexpr int call_trial_count = static_cast<int>(sizeof(call_trials) / sizeof(call_trials[0]));

// The results, in memory that is shared with the child that makes the calls.
struct trial_sheet {
    in_signal::atomic<std::int32_t> at;  // the trial that is being made
    long results[call_trial_count];
};
inline constexpr long call_kills = -10'000;
inline constexpr long call_untried = -10'001;

namespace detail {

inline void try_calls(trial_sheet& sheet, int from) noexcept {
    for (int i = from; i < call_trial_count; ++i) {
        sheet.at.store(i);
        sheet.results[i] = call_trials[i].make();
    }
    sheet.at.store(call_trial_count);
}

// True if the child has ended by itself. Its end tells nobody, and only __WALL finds it.
inline bool await_child(int child) noexcept {
    constexpr std::uint64_t limit = 2'000'000'000;
    std::uint64_t const deadline = in_signal::monotonic() + limit;
    for (patience turn;; turn.wait()) {
        int status = 0;
        long const found = system_call(SYS_wait4, child, as_word(&status), WNOHANG | __WALL, 0);
        if (found != 0 && found != -EINTR) return true;
        if (in_signal::monotonic() < deadline) continue;
        system_call(SYS_kill, child, SIGKILL);
        system_call(SYS_wait4, child, 0, __WALL, 0);
        return false;
    }
}

// All signals are blocked in the child: no handler of the program runs there, and SIGSYS, forced by a filter, takes
// the default. A limit of 1 keeps it from a core, by a pipe too (core(5)).
inline bool try_in_child(trial_sheet& sheet, int from) noexcept {
    in_signal::kernel_set const all = ~in_signal::kernel_set{0};
    in_signal::kernel_set before = 0;
    in_signal::change_mask(SIG_SETMASK, &all, &before);
    long const child = system_call(SYS_clone, 0, 0, 0, 0, 0);
    if (child == 0) {
        rlimit const no_core{1, 1};
        system_call(SYS_prlimit64, 0, RLIMIT_CORE, as_word(&no_core), 0);
        try_calls(sheet, from);
        in_signal::exit_now(0);
    }
    in_signal::change_mask(SIG_SETMASK, &before, nullptr);
    return child > 0 && await_child(static_cast<int>(child));
}

inline void try_all_in_children(trial_sheet& sheet) noexcept {
    for (int from = 0; from < call_trial_count;) {
        sheet.at.store(from);
        if (!try_in_child(sheet, from)) return;
        int const reached = sheet.at.load();
        if (reached < call_trial_count) sheet.results[reached] = call_kills;
        from = reached + 1;
    }
}

inline bool is_normal(call_trial const& trial, long result) noexcept {
    return result >= 0 || result == -trial.normal || (trial.also != 0 && result == -trial.also);
}

}  // namespace detail

class report_calls {
  public:
    // Tries all calls. To be done before anything else: the rest of the self-check makes the same ones.
    report_calls() noexcept
        : filtered_{in_signal::system_call(SYS_prctl, get_seccomp) == by_filter} {
        for (long& each : results_) each = call_untried;
        void* const memory =
            ::mmap(nullptr, sizeof(trial_sheet), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) return;
        trial_sheet& sheet = *static_cast<trial_sheet*>(memory);
        for (long& each : sheet.results) each = call_untried;
        if (filtered_)
            detail::try_all_in_children(sheet);
        else
            detail::try_calls(sheet, 0);
        for (int i = 0; i < call_trial_count; ++i) results_[i] = sheet.results[i];
        ::munmap(memory, sizeof(trial_sheet));
    }

    // True if nothing can be said at all.
    bool silenced() const noexcept { return results_[0] == call_kills; }

    // The first call that ends the process and that the self-check cannot do without; null if there is none.
    char const* deadly() const noexcept {
        for (int i = 0; i < call_trial_count; ++i)
            if (results_[i] == call_kills && !call_trials[i].spared) return call_trials[i].call;
        return nullptr;
    }

    void report(checkup& to) const noexcept {
        unsigned refused = 0;
        unsigned untried = 0;
        for (int i = 0; i < call_trial_count; ++i) {
            untried += results_[i] == call_untried;
            if (results_[i] == call_untried || detail::is_normal(call_trials[i], results_[i])) continue;
            ++refused;
            to.warning().text("the system call ").text(call_trials[i].call);
            if (results_[i] == call_kills)
                to.line().text(" ends the process");
            else
                append_errno(to.line().text(" is refused, "), static_cast<int>(-results_[i]));
            to.line().text(": ").text(call_trials[i].cost);
            to.put(filtered_ ? "allow it in the seccomp filter" : nullptr);
        }
        if (untried != 0) {
            to.note().decimal(untried).text(" system calls of a report could not be tried");
            to.put();
        } else if (refused == 0) {
            to.ok()
                .text("no system call of a report is refused")
                .text(filtered_ ? ", under a seccomp filter" : "");
            to.put();
        }
    }

  private:
    static constexpr long get_seccomp = 21;  // PR_GET_SECCOMP (linux/prctl.h)
    static constexpr long by_filter = 2;     // SECCOMP_MODE_FILTER (linux/seccomp.h)

    bool filtered_;
    long results_[call_trial_count];
};

}  // namespace tocsin::posix
