// SPDX-License-Identifier: MIT
// A delivery that this thread makes up.
//
// Runs in the handler, and anywhere else.
#pragma once

#include <errno.h>

#include <tocsin/in_signal/entry.hpp>

namespace tocsin::in_signal {

enum class simulated : unsigned char { handled, refused, unclaimed };

constexpr kernel_set all_but_faults() noexcept {
    kernel_set set = ~kernel_set{0};
    for (int signal = 1; signal <= tocsin::detail::standard_signals; ++signal)
        if (is_fault(signal)) set &= ~bit_of(signal);
    return set;
}

// All signals but faults are blocked meanwhile, as in a handler; one that takes its default afterwards meets the
// thread's own mask again.
[[gnu::visibility("hidden")]] inline simulated simulate(int signal) noexcept {
    table* const in = the_table.load_acquire();
    if (in == nullptr) return simulated::unclaimed;
    int const kept = errno;
    floating_point_environment const environment;
    constexpr kernel_set all = all_but_faults();
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
