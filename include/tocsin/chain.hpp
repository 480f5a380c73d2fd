// SPDX-License-Identifier: MIT
// `chain`: afterwards, what was there before.
#pragma once

#include <tocsin/on.hpp>

namespace tocsin {

// Ends a row by calling the disposition that the guard found, from the handler, with its own mask and flags, the
// original siginfo and context; an older guard's row counts as what was there. An ignored signal stays ignored. A
// default is taken for fault signals only, or for all with chain.or_default(). Deferred reactions of the row run
// later all the same.
struct chain_t {
    static constexpr stage where = stage::last;
    static constexpr bool on_fault = true;
    static constexpr bool on_hang = false;

    bool take_default = false;

    constexpr chain_t or_default() const noexcept { return {true}; }
    in_signal::finish_by_chain last_word() const noexcept { return {take_default}; }
};
[[gnu::visibility("hidden")]] inline constexpr chain_t chain{};

}  // namespace tocsin
