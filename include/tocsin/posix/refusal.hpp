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
    error const what{refused.errno_code, refused.call, refused.signal};
#if defined(__cpp_exceptions)
    throw what;
#else
    char const* const line = what.what();
    in_signal::write(2, line, __builtin_strlen(line));
    in_signal::write(2, "\n", 1);
    __builtin_abort();
#endif
}

}  // namespace tocsin::posix
