// SPDX-License-Identifier: MIT
// Why a duration is none.
//
// Runs on any ordinary thread.
#pragma once

#include <errno.h>

#include <tocsin/duration.hpp>
#include <tocsin/failure.hpp>

namespace tocsin::posix {

// What an error calls an argument that is no length of time. Null for `zero` where 0 means something.
struct duration_words {
    char const* negative;
    char const* zero;
    char const* not_a_number;
    char const* too_long;
};

constexpr failure refusal(tocsin::detail::length of, duration_words const& words) noexcept {
    switch (of) {
        case tocsin::detail::length::negative:
            return {EINVAL, words.negative, 0};
        case tocsin::detail::length::not_a_number:
            return {EINVAL, words.not_a_number, 0};
        case tocsin::detail::length::too_long:
            return {EINVAL, words.too_long, 0};
        case tocsin::detail::length::zero:
            return words.zero != nullptr ? failure{EINVAL, words.zero, 0} : failure{};
        case tocsin::detail::length::some:
            break;
    }
    return {};
}

}  // namespace tocsin::posix
