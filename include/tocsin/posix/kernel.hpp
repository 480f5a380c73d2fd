// SPDX-License-Identifier: MIT
// Dispositions as libc hands them out.
//
// Runs on any ordinary thread. Through sigaction(3) and not the bare system call: libc refuses the signals that
// it keeps for itself and knows the restorer, and sanitizers want to be asked.
#pragma once

#include <errno.h>
#include <signal.h>

#include <tocsin/in_signal/slot.hpp>

namespace tocsin::posix {

// What sigaction(2) does: gives the signal `wanted`, unless that is null, and answers what was there. Answers an errno,
// 0 for success.
[[gnu::visibility("hidden"), gnu::noinline, gnu::cold]] inline int exchange_disposition(
    int signal, in_signal::disposition const* wanted, in_signal::disposition& found) noexcept {
    struct sigaction given {};
    struct sigaction before;
    if (wanted != nullptr) {
        given.sa_handler = wanted->handler;
        given.sa_flags = static_cast<int>(wanted->flags);
        given.sa_restorer = wanted->restorer;
        __builtin_memcpy(&given.sa_mask, &wanted->mask, sizeof wanted->mask);
    }
    if (::sigaction(signal, wanted != nullptr ? &given : nullptr, &before) != 0) return errno;
    found.handler = before.sa_handler;
    found.flags = static_cast<unsigned>(before.sa_flags);
    found.restorer = before.sa_restorer;
    __builtin_memcpy(&found.mask, &before.sa_mask, sizeof found.mask);
    return 0;
}

// Both answer an errno, 0 for success.
inline int read_disposition(int signal, in_signal::disposition& found) noexcept {
    return exchange_disposition(signal, nullptr, found);
}

inline int change_disposition(int signal, in_signal::disposition const& wanted,
                              in_signal::disposition& replaced) noexcept {
    return exchange_disposition(signal, &wanted, replaced);
}

}  // namespace tocsin::posix
