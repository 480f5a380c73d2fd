// SPDX-License-Identifier: MIT
// `simulate(sig)`: a signal that arrives without the kernel.
#pragma once

#include <errno.h>

#include <tocsin/in_signal/simulate.hpp>
#include <tocsin/posix/directory.hpp>

namespace tocsin {

// What became of a simulated signal. True if a guard's row has dealt with it.
class simulation {
  public:
    enum outcome : unsigned char {
        handled,      // a guard's row has run
        not_handled,  // nobody claims the signal: it is default, ignored or somebody else's
        refused,      // it was queued as real-time signals are, and the queue is full (EAGAIN to a real sender)
        invalid,      // no such signal, or one that cannot be caught
    };

    constexpr simulation(outcome what) noexcept : outcome_{what} {}
    constexpr explicit operator bool() const noexcept { return outcome_ == handled; }
    constexpr outcome result() const noexcept { return outcome_; }
    friend constexpr bool operator==(simulation, simulation) noexcept = default;

  private:
    outcome outcome_;
};

// Lets `signal` arrive on this thread as if it had been delivered: the rows of all guards react as to a real one,
// flags, wake-ups and records included, whether or not the thread blocks it. Its code is SI_USER, its sender this
// process. Async-signal-safe; callable on any thread and from handlers. A signal that no guard claims is left alone
// and reported as not handled. A row that ends in the default or in the previous disposition really does.
[[gnu::visibility("hidden")]] inline simulation simulate(int signal) noexcept {
    if (!can_be_caught(signal)) return simulation::invalid;
    posix::look_up_table();
    switch (in_signal::simulate(signal)) {
        case in_signal::simulated::handled: return simulation::handled;
        case in_signal::simulated::refused: return simulation::refused;
        case in_signal::simulated::unclaimed: break;
    }
    return simulation::not_handled;
}

}  // namespace tocsin
