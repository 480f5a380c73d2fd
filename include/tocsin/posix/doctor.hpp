// SPDX-License-Identifier: MIT
// The self-check: what would go wrong in a crash, asked while all is well.
//
// Runs on any ordinary thread. It sends no signal, changes no disposition and takes no lock but the table's. Its
// checks are independent: what one cannot find out does not keep the others from asking.
#pragma once

#include <tocsin/posix/doctor_calls.hpp>
#include <tocsin/posix/doctor_process.hpp>
#include <tocsin/posix/doctor_signals.hpp>
#include <tocsin/posix/doctor_targets.hpp>
#include <tocsin/posix/doctor_threads.hpp>

namespace tocsin::posix {

// Nothing else may be done where this is said, not even by the ways that bound a write.
inline int refuse_checkup(int fd, char const* call) noexcept {
    in_signal::fixed_line<512> text;
    text.text("tocsin doctor: warning: the system call ").text(call);
    text.text(" ends the process, and reports need it; nothing else was looked at");
    text.text(" (allow it in the seccomp filter)").end();
    text.text("tocsin doctor: summary: warnings 1, notes 0, ok 0").end();
    long const written = in_signal::write(fd, text.data(), text.size());
    return written < 0 ? static_cast<int>(written) : 1;
}

inline int self_check(int fd) noexcept {
    report_calls const calls;
    if (calls.silenced()) return -EPERM;
    if (char const* const call = calls.deadly()) return refuse_checkup(fd, call);
    // Before the check opens anything, which could take the number of a closed standard error.
    char const* const standard_error = trouble_of_descriptor(STDERR_FILENO);
    descriptor_count const descriptors;
    checkup to{fd};
    if (to.failed()) return to.end();
    look_up_table();
    table* const in = in_signal::the_table.load_acquire();
    bool const has_proc = check_proc(to);
    check_own_stack(to);
    if (has_proc) check_other_stacks(to, in, check_masks(to));
    check_signals(to, in);
    check_sanitizer(to);
    check_unwinder(to);
    calls.report(to);
    check_core(to);
    check_dumpable(to);
    check_queue(to);
    check_descriptors(to, descriptors);
    check_place(to);
    check_targets(to, in, standard_error);
    return to.end();
}

}  // namespace tocsin::posix
