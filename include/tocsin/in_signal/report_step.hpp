// SPDX-License-Identifier: MIT
// One step of a report: what it costs if it faults or does not end is itself.
//
// Runs in the handler. A fault needs a crash row, or nobody is asked about it; a limit of time also needs the report of
// a crash, whose own signal the clock sends.
#pragma once

#include <tocsin/in_signal/report_desk.hpp>

namespace tocsin::in_signal {

// What a step does, whatever it is: all steps share the code that watches over them.
struct some_step {
    void (*take)(void const* what) noexcept;
    void const* what;

    void operator()() const noexcept { take(what); }
};

inline bool take_step(report_desk& desk, std::uint64_t limit, some_step const& one) noexcept {
    if (limit == 0 || desk.clock_signal == 0) return attempt(desk.steps, one);
    return attempt_within(desk.steps, desk.clock, desk.clock_signal, limit, one);
}

// False if it was given up. `limit` in nanoseconds; 0 for what bounds itself.
template <class Step>
bool step(report_desk& desk, std::uint64_t limit, Step const& take) noexcept {
    return take_step(desk, limit, {[](void const* what) noexcept { (*static_cast<Step const*>(what))(); }, &take});
}

}  // namespace tocsin::in_signal
