// SPDX-License-Identifier: MIT
// `in_handler(f)`: the one word for user code inside a handler.
#pragma once

#include <tocsin/delivery.hpp>
#include <tocsin/on.hpp>
#include <tocsin/traits.hpp>

namespace tocsin {

template <class F>
struct in_handler_t {
    static constexpr stage where = stage::handler;
    static constexpr bool on_fault = true;
    static constexpr bool on_hang = true;

    F function;

    in_signal::user_code<F> part() const noexcept { return {function}; }
};

// Calls f(delivery const&) from the handler itself, on the interrupted thread, in the middle of whatever it was
// doing. f may call what POSIX lists as async-signal-safe and nothing else: no allocation, no lock, no stdio. That
// it does not throw and has no state that needs care is checked; the rest is a promise. The library keeps errno.
template <class F>
constexpr auto in_handler(F f) noexcept {
    constexpr bool plain = in_signal::copies_as_bytes<F>;
    static_assert(plain, "tocsin: in_handler(f) needs an f that is trivially copyable; capture references "
                         "or plain values");
    constexpr bool fits = detail::callable<F, delivery const&>;
    static_assert(fits, "tocsin: the function of in_handler(f) is called as f(delivery const&); give it "
                        "that parameter");
    constexpr bool calm = !fits || detail::callable_calmly<F, delivery const&>;
    static_assert(calm, "tocsin: a handler must not throw; declare the function of in_handler(f) noexcept");
    if constexpr (plain && fits && calm)
        return in_handler_t<F>{f};
    else
        return detail::refused{};
}

}  // namespace tocsin
