// SPDX-License-Identifier: MIT
// The self-check's look at /proc and at the threads: what they block, and what their handlers would stand on.
//
// Runs on any ordinary thread. It sees what /proc shows at the moment. The alternate stack of another thread cannot be
// asked for from outside (sigaltstack(2) knows only the caller's).
#pragma once

#include <tocsin/in_signal/tasks.hpp>
#include <tocsin/libc_functions.hpp>
#include <tocsin/posix/alternate_stack.hpp>
#include <tocsin/posix/doctor_lines.hpp>

namespace tocsin::posix {

// Faults that are lost when they are blocked. SIGABRT is not: abort(3) unblocks it.
[[gnu::visibility("hidden")]] inline constexpr in_signal::kernel_set lost_if_blocked =
    in_signal::bit_of(SIGSEGV) | in_signal::bit_of(SIGBUS) | in_signal::bit_of(SIGFPE) |
    in_signal::bit_of(SIGILL) | in_signal::bit_of(SIGTRAP) | in_signal::bit_of(SIGSYS);

// False if /proc cannot tell of this process's threads.
inline bool check_proc(checkup& to) noexcept {
    char number[24] = {};
    long const size = in_signal::system_call(SYS_readlinkat, AT_FDCWD, in_signal::as_word("/proc/self"),
                                             in_signal::as_word(number), sizeof number - 1);
    if (size <= 0) {
        append_errno(to.warning().text("/proc does not show this process: "), static_cast<int>(-size));
        to.put("mount it: without it a report has one thread, and names only from memory");
        return false;
    }
    char const* at = number;
    if (parse_decimal(at) != static_cast<std::uint64_t>(in_signal::getpid())) {
        to.warning()
            .text("/proc belongs to another pid namespace, where process ")
            .decimal(in_signal::getpid());
        to.line().text(" goes by another number");
        to.put("mount its own, or a report has one thread");
        return false;
    }
    if (int const error = in_signal::task_file<64>{in_signal::gettid(), "comm"}.error()) {
        append_errno(to.warning().text("/proc/self/task does not show this thread: "), error);
        to.put("let the process read its own /proc, or a report has one thread");
        return false;
    }
    to.ok().text("/proc shows this process and its threads");
    to.put();
    return true;
}

// What /proc/self/task/THREAD/status says.
struct thread_status {
    bool known = false;
    char state = '?';
    in_signal::kernel_set blocked = 0;
};

inline thread_status status_of_thread(int thread) noexcept {
    in_signal::fixed_line<64> path;
    path.text("/proc/self/task/").decimal(thread).text("/status").character('\0');
    text_lines lines{path.data()};
    thread_status found;
    while (lines.next() && !found.known) {
        if (char const* const state = lines.value_of("State")) found.state = *state;
        if (char const* const blocked = lines.value_of("SigBlk")) {
            found.blocked = parse_hex(blocked);
            found.known = true;
        }
    }
    return found;
}

// Which faults a thread goes on blocking. pthread_create(3) and fork(2) block everything for a moment, and so do
// handlers; but who sleeps with them blocked means it. `looks` bounds how often all threads together are looked at
// again.
inline in_signal::kernel_set lasting_blocks(int thread, thread_status seen, unsigned& looks) noexcept {
    constexpr unsigned looks_at_one = 40;
    constexpr unsigned looks_at_sleep = 3;
    in_signal::kernel_set blocked = seen.blocked & lost_if_blocked;
    for (unsigned i = 0, asleep = 0;
         blocked != 0 && i < looks_at_one && asleep < looks_at_sleep && looks != 0; ++i) {
        timespec const moment{0, 1'000'000};
        in_signal::system_call(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, in_signal::as_word(&moment), 0);
        seen = status_of_thread(thread);
        blocked &= seen.blocked;
        asleep += seen.state == 'S';
        --looks;
    }
    return blocked;
}

inline void warn_of_mask(checkup& to, int thread, in_signal::kernel_set blocked) noexcept {
    in_signal::task_file<32> const comm{thread, "comm"};
    in_signal::line& line = to.warning();
    line.text("thread ").decimal(thread).character(' ').quoted(comm.text(), comm.size()).text(" blocks");
    append_signals(line, blocked);
    line.text(": such a fault there ends the process without a report");
    to.put("leave faults unblocked: pthread_sigmask(SIG_UNBLOCK, ...) in that thread");
}

// Answers the number of threads.
inline unsigned check_masks(checkup& to) noexcept {
    unsigned threads = 0;
    unsigned blocking = 0;
    unsigned looks = 400;
    int const refused = in_signal::each_task([&](int thread) noexcept {
        thread_status const status = status_of_thread(thread);
        if (!status.known || status.state == 'Z' || status.state == 'X') return;
        ++threads;
        in_signal::kernel_set const blocked = lasting_blocks(thread, status, looks);
        if (blocked != 0 && blocking++ < most_lines_of_a_kind) warn_of_mask(to, thread, blocked);
    });
    if (refused != 0 || threads == 0) {
        to.note().text("the threads could not be listed, nor what they block");
        to.put();
    } else if (blocking > most_lines_of_a_kind) {
        to.warning().decimal(blocking - most_lines_of_a_kind).text(" more threads block fault signals");
        to.put();
    } else if (blocking == 0) {
        to.ok().text("no thread of ").decimal(threads).text(" blocks a fault signal");
        to.put();
    }
    return threads;
}

inline void check_own_stack(checkup& to) noexcept {
    stack_t now{};
    if (::sigaltstack(nullptr, &now) != 0) {
        append_errno(to.note().text("the calling thread's alternate stack is not to be known: "), errno);
        return to.put();
    }
    std::size_t const need = alternate_stack_need(0);
    if ((now.ss_flags & SS_DISABLE) != 0) {
        to.warning().text("the calling thread has no alternate stack: its stack overflows without a report");
        return to.put("tocsin::thread_guard here; on each thread");
    }
    if (now.ss_size < need) {
        to.warning().text("the calling thread's alternate stack is too small: ").decimal(now.ss_size);
        to.line().text(" bytes, a report needs ").decimal(need);
        return to.put("tocsin::thread_guard here; gives it a larger one");
    }
    to.ok().text("the calling thread's alternate stack has ").decimal(now.ss_size);
    to.line().text(" bytes, a report needs ").decimal(need).text(", of which the kernel's frame takes ");
    to.line().decimal(libc::getauxval(libc::at_smallest_signal_stack));
    to.put();
}

// The library's own threads have one.
inline void check_other_stacks(checkup& to, in_signal::table const* in, unsigned threads) noexcept {
    unsigned known = 1;
    for (unsigned i = 0; in != nullptr && i < in_signal::service_count; ++i)
        known += in->services[i].process.load() == in_signal::getpid();
    if (threads <= known) return;
    to.note()
        .text("whether the ")
        .decimal(threads - known)
        .text(" other threads have alternate stacks is known to");
    to.line().text(" themselves only");
    to.put("call doctor there, or keep a tocsin::thread_guard in each");
}

}  // namespace tocsin::posix
