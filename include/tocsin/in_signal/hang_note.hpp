// SPDX-License-Identifier: MIT
// What the arrival of a hang points to: for how long nobody fed which watchdog.
//
// Runs in the handler, and where a watchdog's row runs. Such an arrival has signal 0, and its siginfo points to the
// note by `si_lower`, which no signal uses that carries a value.
#pragma once

#include <cstdint>

namespace tocsin::in_signal {

struct hang_note {
    std::uint64_t unfed;  // nanoseconds
    char const* name;     // of the watchdog; null if it has none
};

}  // namespace tocsin::in_signal
