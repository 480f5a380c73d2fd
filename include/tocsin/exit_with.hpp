// SPDX-License-Identifier: MIT
// `exit_with(code)`: the process ends.
#pragma once

#include <tocsin/on.hpp>

namespace tocsin {

struct exit_with_t {
    static constexpr stage where = stage::last;
    static constexpr bool on_fault = true;
    static constexpr bool on_hang = true;

    int code;

    in_signal::finish_by_exit last_word() const noexcept { return {code}; }
};

// Ends a row by ending the process with this exit code, 0 to 255, as _exit(2) does: no destructor and no atexit
// function runs. After deferred reactions it happens on the thread that ran them.
constexpr exit_with_t exit_with(int code) noexcept { return {code}; }

}  // namespace tocsin
