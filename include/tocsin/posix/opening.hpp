// SPDX-License-Identifier: MIT
// What a guard and the mechanisms behind its reactions know of each other.
//
// Runs on any ordinary thread.
#pragma once

#include <tocsin/delivery.hpp>
#include <tocsin/failure.hpp>
#include <tocsin/in_signal/inbox.hpp>
#include <tocsin/in_signal/slot.hpp>

namespace tocsin::posix {

// What a guard's state knows of the guard while it opens.
struct opening {
    in_signal::table* in;
    void* owner;                             // the guard's state, counted by the two functions below
    void (*keep)(void*) noexcept;
    void (*release)(void*) noexcept;
    in_signal::atomic<std::uint64_t>* pending;  // words that live in the guard itself, one load away
    in_signal::atomic<std::uint32_t>* fed;      // one for the watchdogs without a name, and one for each name
    in_signal::atomic<std::uint32_t>* resting = nullptr;
};

// A place for the signal or watchdog that a deferred reaction runs for. `step` counts the row's reactions that
// have been started; `all_steps` once the last one has.
inline constexpr unsigned all_steps = ~0U;
using deferred_runner = void (*)(void* owner, delivery const&, unsigned& step);

// Of inboxes, for guards that have one: see inbox.hpp, which the reactions include that have one.
inline failure add_ring(in_signal::inbox& box, int signal, std::uint32_t records) noexcept;
inline void settle(in_signal::table& in, in_signal::inbox& box) noexcept;
namespace detail {
inline void open_here(int signal) noexcept;
}

}  // namespace tocsin::posix
