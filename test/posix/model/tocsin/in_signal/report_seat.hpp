// SPDX-License-Identifier: MIT
// Stands in front of the library's header of this name: in the model nobody writes reports.
#pragma once

#include <tocsin/in_signal/slot.hpp>

namespace tocsin::in_signal {

inline void begin_dying(table&) noexcept {}
inline void go_on_living(table&) noexcept {}
inline bool is_of_a_report(arrival&) noexcept { return false; }

}  // namespace tocsin::in_signal
