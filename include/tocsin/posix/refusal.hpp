// SPDX-License-Identifier: MIT
// How a constructor says no: as an exception where there are some.
//
// Runs on any ordinary thread.
#pragma once

#include <tocsin/error.hpp>
#include <tocsin/failure.hpp>
#include <tocsin/in_signal/system.hpp>

namespace tocsin::posix {

// Throws tocsin::error. Without exceptions it prints the error and aborts.
[[noreturn, gnu::noinline, gnu::cold]] inline void fail(failure const& refused) {
#if defined(__cpp_exceptions)
    throw error{refused.errno_code, refused.call, refused.signal};  // made where it is thrown from: nothing to clean up
#else
    error const what{refused.errno_code, refused.call, refused.signal};
    char const* const line = what.what();
    in_signal::write(2, line, __builtin_strlen(line));
    in_signal::write(2, "\n", 1);
    __builtin_abort();
#endif
}

}  // namespace tocsin::posix
