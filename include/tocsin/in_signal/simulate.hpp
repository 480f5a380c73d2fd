// SPDX-License-Identifier: MIT
// A delivery that this thread makes up.
//
// Runs in the handler, and anywhere else.
#pragma once

#include <errno.h>

#include <tocsin/in_signal/entry.hpp>

namespace tocsin::in_signal {

enum class simulated : unsigned char { handled, refused, unclaimed };

// All signals are blocked meanwhile, as in a handler; one that takes its default afterwards meets the thread's own
// mask again.
inline simulated simulate(int signal) noexcept {
    table* const in = the_table.load_acquire();
    if (in == nullptr) return simulated::unclaimed;
    int const kept = errno;
    floating_point_environment const environment;
    kernel_set const all = ~kernel_set{0};
    kernel_set before;
    change_mask(SIG_SETMASK, &all, &before);
    siginfo_t info{};
    info.si_signo = signal;
    info.si_code = SI_USER;
    info.si_pid = getpid();
    info.si_uid = static_cast<uid_t>(system_call(SYS_getuid));
    arrival a{signal, &info, nullptr, in};
    a.simulated = true;
    bool const handled = deliver(a);
    change_mask(SIG_SETMASK, &before, nullptr);
    errno = kept;
    return !handled ? simulated::unclaimed : a.refused ? simulated::refused : simulated::handled;
}

}  // namespace tocsin::in_signal
