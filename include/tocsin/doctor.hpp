// SPDX-License-Identifier: MIT
// `doctor(fd)`: the self-check.
//
// Most reports of crashes fail for reasons that could have been known beforehand: a thread that blocks the signal, a
// stack that is too small, a handler that somebody has installed since, a system call that a sandbox refuses.
#pragma once

#include <errno.h>

#include <tocsin/posix/doctor.hpp>

namespace tocsin {

// Writes what it found to the descriptor, a line for each finding:
//
//     tocsin doctor: ok: ...
//     tocsin doctor: note: ...              may be meant so, or could not be found out
//     tocsin doctor: warning: ... (remedy)  costs a report, a part of it, or the core
//     tocsin doctor: summary: warnings 2, notes 1, ok 9
//
// Answers the number of warnings, or a negated errno if not all could be written: EBADF for a descriptor that is not
// open for writing, EPIPE, ENOSPC, ETIMEDOUT for one that takes nothing for three seconds, EPERM where a seccomp filter
// ends who writes.
//
// Runs on any ordinary thread, at any time; best where the guards are built and the threads run. It speaks of now, of
// this process, and of the alternate stack of the calling thread only. It sends no signal, and errno, dispositions and
// the mask are afterwards as before; memory of its own is given back. Under a seccomp filter the calls that it tries
// are made in a short-lived child, whose end no handler and no wait(2) sees. Not for handlers.
[[gnu::noinline]] inline int doctor(int fd) noexcept {
    int const kept = errno;
    int const found = posix::self_check(fd);
    errno = kept;
    return found;
}

}  // namespace tocsin
