// SPDX-License-Identifier: MIT
// Rows on fault signals leave faults inside guarded calls to those.
//
// Runs in the handler. A program without guarded calls has nothing else of them.
#pragma once

#include <tocsin/in_signal/atomic.hpp>
#include <tocsin/in_signal/slot.hpp>

namespace tocsin::in_signal {

// `leave_guarded`, from the first guarded call on.
[[gnu::visibility("hidden")]] inline atomic<bool (*)(arrival&) noexcept> way_out_of_guarded;

[[gnu::visibility("hidden"), gnu::noinline]] inline bool is_of_guarded_call(arrival& a) noexcept {
    auto const leave = way_out_of_guarded.load_acquire();
    return leave != nullptr && leave(a);
}

// The program of a row on a fault signal, for threads that are not in a guarded call.
template <class Program>
struct unless_guarded {
    Program program;

    verdict operator()(arrival& a) noexcept {
        if (is_of_guarded_call(a)) return verdict::done;
        return program(a);
    }
};

}  // namespace tocsin::in_signal
