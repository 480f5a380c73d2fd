// SPDX-License-Identifier: MIT
// What the library's reserved signal does on the thread that it is sent to.
//
// Runs in the handler.
#pragma once

#include <tocsin/in_signal/inbox.hpp>
#include <tocsin/in_signal/slot.hpp>

namespace tocsin::in_signal {

// Opens a signal that a full ring had made this thread mask, if that is what was asked; otherwise answers a
// capture request.
inline verdict run_reserved(link&, arrival& a) noexcept {
    bool const from_ourselves = a.info->si_code == SI_QUEUE && a.info->si_pid == a.pid();
    int const wanted = from_ourselves ? a.info->si_value.sival_int : 0;
    if (wanted > tocsin::detail::standard_signals && wanted <= tocsin::detail::last_signal && a.context != nullptr) {
        set_interrupted_mask(*a.context, interrupted_mask(*a.context) & ~bit_of(wanted));
        return verdict::done;
    }
    if (auto const answer = a.in->capture.load_acquire()) answer(a);
    return verdict::done;
}

}  // namespace tocsin::in_signal
