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

inline in_signal::disposition from_libc(struct sigaction const& action) noexcept {
    in_signal::disposition result{};
    result.handler = action.sa_handler;
    result.flags = static_cast<unsigned long>(static_cast<unsigned>(action.sa_flags));
    result.restorer = action.sa_restorer;
    __builtin_memcpy(&result.mask, &action.sa_mask, sizeof result.mask);
    return result;
}

inline struct sigaction to_libc(in_signal::disposition const& disposition) noexcept {
    struct sigaction action {};
    action.sa_handler = disposition.handler;
    action.sa_flags = static_cast<int>(disposition.flags);
    action.sa_restorer = disposition.restorer;
    __builtin_memcpy(&action.sa_mask, &disposition.mask, sizeof disposition.mask);
    return action;
}

// Both answer an errno, 0 for success.
[[gnu::noinline, gnu::cold]] inline int read_disposition(int signal, in_signal::disposition& found) noexcept {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) != 0) return errno;
    found = from_libc(action);
    return 0;
}

[[gnu::noinline, gnu::cold]] inline int change_disposition(int signal, in_signal::disposition const& wanted,
                              in_signal::disposition& replaced) noexcept {
    struct sigaction const action = to_libc(wanted);
    struct sigaction before {};
    if (::sigaction(signal, &action, &before) != 0) return errno;
    replaced = from_libc(before);
    return 0;
}

}  // namespace tocsin::posix
