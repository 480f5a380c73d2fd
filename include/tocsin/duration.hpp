// SPDX-License-Identifier: MIT
// Lengths of time, taken from whatever counts them and rounded up to what the kernel counts.
//
// Runs anywhere, handlers included. Without <chrono>: naming that header costs more to include than all that tocsin
// includes otherwise. A length is never rounded down, so that nothing happens early and a tiny one does not become 0,
// which the kernel's timers take for "disarm".
#pragma once

#include <cstdint>

#include <tocsin/traits.hpp>

namespace tocsin {

namespace detail {

__extension__ using wide = unsigned __int128;

// In nanoseconds. The kernel's clocks end here, 292 years from their beginning (include/linux/ktime.h, KTIME_MAX).
inline constexpr std::uint64_t longest_duration = ~std::uint64_t{0} >> 1;

// Whatever counts in fractions of a second, such as std::chrono's.
template <class D>
concept duration = requires(D const& d) {
    d.count();
    accept<long long>(D::period::num);
    accept<long long>(D::period::den);
};

// A point of time on a clock that can be asked for the current one, such as std::chrono's.
template <class P>
concept time_point = requires(P const& p) {
    requires duration<decltype(p.time_since_epoch())>;
    requires duration<decltype(P::clock::now().time_since_epoch())>;
};

enum class length : unsigned char { some, zero, negative, not_a_number, too_long };

// How many of some unit; 0 for what is negative or no number, the most there can be for what is too long.
struct units {
    std::uint64_t count = 0;
    length is = length::zero;
};

// `count` times `num` / `den` seconds, in units of which a second has `a_second`.
constexpr units count_units(std::uint64_t count, std::uint64_t num, std::uint64_t den, std::uint64_t a_second,
                            std::uint64_t longest) noexcept {
    units const too_long{longest, length::too_long};
    if (count == 0) return {};
    // Each product stays below 2^127: the ratio's parts are below 2^63, and `longest` is.
    wide const whole = static_cast<wide>(count / den) * num;
    wide const rest = static_cast<wide>(count % den) * num;
    if (whole > longest / a_second || rest / den > longest / a_second) return too_long;
    wide const sum = whole * a_second + (rest * a_second + den - 1) / den;
    return sum <= longest ? units{static_cast<std::uint64_t>(sum), length::some} : too_long;
}

// Counted in the precision that the number came in: 0.1 is then 100,000 microseconds, as its owner thinks, though the
// nearest `double` is a little more.
template <class Real>
constexpr units count_units(Real exact, std::uint64_t longest) noexcept {
    if (exact >= static_cast<Real>(longest)) return {longest, length::too_long};
    auto const below = static_cast<std::uint64_t>(exact);
    // 0 is left of what was so tiny that the product could not hold it
    return {below + (static_cast<Real>(below) < exact || below == 0 ? 1 : 0), length::some};
}

constexpr wide greatest_divisor(wide left, wide right) noexcept {
    while (right != 0) {
        wide const rest = left % right;
        left = right;
        right = rest;
    }
    return left;
}

// The same for a number without its sign; 0 and NaN come here, too.
template <std::uint64_t ASecond, class Ratio, class Rep>
constexpr units magnitude(Rep const& of) noexcept {
    constexpr auto num = static_cast<std::uint64_t>(Ratio::num);
    constexpr auto den = static_cast<std::uint64_t>(Ratio::den);
    constexpr auto longest =
        static_cast<std::uint64_t>(static_cast<wide>(longest_duration) * ASecond / 1'000'000'000);
    bool const negative = of < Rep{};
    if (!negative && !(of >= Rep{})) return {0, length::not_a_number};
    if constexpr (whole<Rep>) {
        using number = chosen<(sizeof(Rep) > sizeof(std::uint64_t)), wide, std::uint64_t>;
        auto const count = negative ? number{0} - static_cast<number>(of) : static_cast<number>(of);
        if (count > ~std::uint64_t{0}) return {longest, length::too_long};
        return count_units(static_cast<std::uint64_t>(count), num, den, ASecond, longest);
    } else {
        using real = chosen<fractional<Rep>, Rep, long double>;
        constexpr wide common = greatest_divisor(static_cast<wide>(num) * ASecond, den);
        constexpr auto times = static_cast<real>(static_cast<wide>(num) * ASecond / common);
        constexpr auto parts = static_cast<real>(den / common);
        auto const count = negative ? -static_cast<real>(of) : static_cast<real>(of);
        // before the product, which may be more than the type can hold
        if (count >= static_cast<real>(longest) / times * parts) return {longest, length::too_long};
        return count > 0 ? count_units(count * times / parts, longest) : units{};
    }
}

// A duration in units of which a second has `ASecond`, rounded up.
template <std::uint64_t ASecond, duration D>
constexpr units whole_units(D const& of) noexcept {
    auto const count = of.count();
    if (count < decltype(of.count()){}) return {0, length::negative};
    return magnitude<ASecond, typename D::period>(count);
}

}  // namespace detail

// A length of time in nanoseconds, as timers tell what is left. Becomes any duration that can hold all of it, such as
// std::chrono::nanoseconds or std::chrono::duration<double>.
class time_left {
  public:
    using rep = std::int64_t;
    struct period {
        static constexpr rep num = 1;
        static constexpr rep den = 1'000'000'000;
    };

    constexpr time_left() noexcept = default;
    constexpr explicit time_left(rep nanoseconds) noexcept : nanoseconds_{nanoseconds} {}

    constexpr rep count() const noexcept { return nanoseconds_; }

    // Of integers, only those that count nanoseconds: what is coarser would have to drop something.
    template <detail::duration D>
        requires(__is_constructible(D, typename D::rep) &&
                 (detail::fractional<typename D::rep> ||
                  (D::period::num == 1 && D::period::den == period::den &&
                   sizeof(typename D::rep) >= sizeof(rep))))
    constexpr operator D() const noexcept {
        using target = typename D::rep;
        if constexpr (detail::fractional<target>)
            return D{static_cast<target>(nanoseconds_) / static_cast<target>(period::den) *
                     static_cast<target>(D::period::den) / static_cast<target>(D::period::num)};
        else
            return D{static_cast<target>(nanoseconds_)};
    }

    friend constexpr bool operator==(time_left, time_left) noexcept = default;

  private:
    rep nanoseconds_ = 0;
};

}  // namespace tocsin
