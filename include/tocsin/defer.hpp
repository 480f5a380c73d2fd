// SPDX-License-Identifier: MIT
// `defer(f)`: flag now, run where the owner calls check().
#pragma once

#include <tocsin/delivery.hpp>
#include <tocsin/on.hpp>
#include <tocsin/posix/deferred.hpp>

namespace tocsin {

struct defer_state {
    static constexpr feature provides = feature::safe_point;

    posix::safe_point point;

    failure open(posix::opening const& to) noexcept { return point.open(to); }
    void close() noexcept { point.close(); }
    failure rearm() noexcept {
        point.rearm();
        return {};
    }
    in_signal::inbox& box() noexcept { return point.box; }
    void use(posix::deferred_runner run, std::uint64_t (*same_row)(void*, int)) noexcept {
        point.run = run;
        point.same_row = same_row;
    }
};

template <class F>
struct defer_t {
    static constexpr stage where = stage::safe_point;
    static constexpr bool on_fault = false;
    static constexpr bool on_hang = true;
    using state = defer_state;

    F function;

    void run(delivery const& what) {
        if constexpr (std::is_invocable_v<F&, delivery const&>)
            function(what);
        else
            function();
    }
};

// Remembers the signal in the handler and calls f() or f(delivery const&) on the thread that calls guard.check(),
// when it does. An exception leaves check(); what had not run yet stays pending.
template <class F>
constexpr auto defer(F f) {
    constexpr bool fits = std::is_invocable_v<F&, delivery const&> || std::is_invocable_v<F&>;
    static_assert(fits, "tocsin: the function of defer(f) is called as f() or f(delivery const&); give it "
                        "such a shape");
    if constexpr (fits)
        return defer_t<F>{std::move(f)};
    else
        return detail::refused{};
}

}  // namespace tocsin
