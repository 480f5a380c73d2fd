// SPDX-License-Identifier: MIT
// Dispositions as the model kernel hands them out: each call is one step.
//
// Runs in the model only.
#pragma once

#include <tocsin/in_signal/slot.hpp>

namespace tocsin::posix {

inline int read_disposition(int signal, in_signal::disposition& found) noexcept {
    return in_signal::change_action(signal, nullptr, &found);
}

inline int change_disposition(int signal, in_signal::disposition const& wanted,
                              in_signal::disposition& replaced) noexcept {
    return in_signal::change_action(signal, &wanted, &replaced);
}

}  // namespace tocsin::posix
