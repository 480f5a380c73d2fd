// SPDX-License-Identifier: MIT
// What a mechanism answers when the system refuses something.
//
// A value; runs anywhere, handlers included.
#pragma once

namespace tocsin {

// How mechanisms report: what failed, without an exception. An `errno_code` of 0 is success.
struct failure {
    int errno_code = 0;
    char const* call = "";
    int signal = 0;

    constexpr explicit operator bool() const noexcept { return errno_code != 0; }
};

}  // namespace tocsin
