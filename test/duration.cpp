// SPDX-License-Identifier: MIT
#include <tocsin/duration.hpp>

#include <chrono>
#include <cstdint>
#include <limits>
#include <ratio>
#include <string>
#include <type_traits>

#include "support/catch.hpp"

using namespace tocsin;
using namespace std::chrono_literals;
using detail::length;
using detail::longest_duration;

namespace {

template <class Rep, class Period = std::ratio<1>>
using length_of = std::chrono::duration<Rep, Period>;

constexpr std::uint64_t a_nano = 1'000'000'000;
constexpr std::uint64_t a_micro = 1'000'000;

template <std::uint64_t ASecond, class D>
constexpr bool is(D const& of, std::uint64_t count, length what = length::some) {
    detail::units const found = detail::whole_units<ASecond>(of);
    return found.count == count && found.is == what;
}

// A program's own: no std::chrono, no std::ratio, and a number that is a class.
struct furlongs {
    int number = 0;
    constexpr explicit operator long double() const { return number; }
    friend constexpr auto operator<=>(furlongs, furlongs) = default;
};
struct walk {
    struct period {
        static constexpr int num = 120;
        static constexpr int den = 1;
    };
    int furlongs_ = 0;
    constexpr furlongs count() const { return {furlongs_}; }
};

struct no_ratio {
    int count() const { return 1; }
};

}  // namespace

TEST_CASE("durations are rounded up to the unit that is asked for", "[duration]") {
    STATIC_REQUIRE(is<a_nano>(30s, 30'000'000'000));
    STATIC_REQUIRE(is<a_nano>(1ns, 1));
    STATIC_REQUIRE(is<a_micro>(1ns, 1));
    STATIC_REQUIRE(is<a_micro>(1000ns, 1));
    STATIC_REQUIRE(is<a_micro>(1001ns, 2));
    STATIC_REQUIRE(is<1>(1ns, 1));
    STATIC_REQUIRE(is<1>(1s, 1));
    STATIC_REQUIRE(is<1>(1001ms, 2));
    STATIC_REQUIRE(is<1>(2min, 120));
    STATIC_REQUIRE(is<a_nano>(length_of<int, std::ratio<1, 3>>{1}, 333'333'334));
    STATIC_REQUIRE(is<a_nano>(length_of<long, std::pico>{1}, 1));
    STATIC_REQUIRE(is<a_nano>(length_of<unsigned char, std::ratio<3600>>{255}, 255U * 3'600'000'000'000U));
    STATIC_REQUIRE(is<a_micro>(length_of<unsigned short, std::milli>{65'535}, 65'535'000));
    STATIC_REQUIRE(is<1>(length_of<unsigned long, std::atto>{~0UL}, 19));
    STATIC_REQUIRE(is<a_micro>(walk{2}, 240'000'000));
}

TEST_CASE("fractions count in their own precision", "[duration]") {
    STATIC_REQUIRE(is<a_micro>(length_of<double>{0.1}, 100'000));
    STATIC_REQUIRE(is<a_micro>(length_of<double, std::milli>{0.1}, 100));
    STATIC_REQUIRE(is<a_micro>(length_of<float>{0.1F}, 100'000));
    STATIC_REQUIRE(is<a_nano>(length_of<double>{1.5}, 1'500'000'000));
    STATIC_REQUIRE(is<1>(length_of<double>{1.5}, 2));
    STATIC_REQUIRE(is<1>(length_of<double, std::milli>{3000.0}, 3));
    STATIC_REQUIRE(is<a_nano>(length_of<double, std::ratio<1, 3>>{0.3}, 100'000'000));
}

TEST_CASE("a tiny length never becomes none", "[duration]") {
    STATIC_REQUIRE(is<a_micro>(length_of<float, std::nano>{0.25F}, 1));
    STATIC_REQUIRE(is<a_micro>(length_of<double>{1e-300}, 1));
    STATIC_REQUIRE(is<1>(length_of<double>{std::numeric_limits<double>::denorm_min()}, 1));
    STATIC_REQUIRE(is<1>(length_of<float, std::atto>{std::numeric_limits<float>::denorm_min()}, 1));
    STATIC_REQUIRE(is<1>(length_of<long, std::atto>{1}, 1));
}

TEST_CASE("what is no length of time is told apart", "[duration]") {
    STATIC_REQUIRE(is<a_nano>(0s, 0, length::zero));
    STATIC_REQUIRE(is<a_nano>(length_of<double>{0.0}, 0, length::zero));
    STATIC_REQUIRE(is<a_nano>(length_of<double>{-0.0}, 0, length::zero));
    STATIC_REQUIRE(is<a_nano>(length_of<unsigned>{0}, 0, length::zero));
    STATIC_REQUIRE(is<a_nano>(walk{0}, 0, length::zero));
    STATIC_REQUIRE(is<a_nano>(-1ns, 0, length::negative));
    STATIC_REQUIRE(is<a_nano>(std::chrono::nanoseconds::min(), 0, length::negative));
    STATIC_REQUIRE(is<a_nano>(length_of<double>{-1e-300}, 0, length::negative));
    STATIC_REQUIRE(
        is<a_nano>(length_of<double>{-std::numeric_limits<double>::infinity()}, 0, length::negative));
    STATIC_REQUIRE(is<a_nano>(length_of<signed char>{-128}, 0, length::negative));
    STATIC_REQUIRE(is<a_nano>(walk{-1}, 0, length::negative));
    STATIC_REQUIRE(
        is<a_nano>(length_of<double>{std::numeric_limits<double>::quiet_NaN()}, 0, length::not_a_number));
    STATIC_REQUIRE(
        is<a_nano>(length_of<float>{-std::numeric_limits<float>::quiet_NaN()}, 0, length::not_a_number));
}

TEST_CASE("what the kernel's clocks cannot hold is too long, and not something short", "[duration]") {
    STATIC_REQUIRE(is<a_nano>(std::chrono::nanoseconds::max(), longest_duration));
    STATIC_REQUIRE(is<a_nano>(length_of<std::uint64_t, std::nano>{longest_duration + 1}, longest_duration,
                              length::too_long));
    STATIC_REQUIRE(is<a_nano>(std::chrono::seconds{9'223'372'036}, 9'223'372'036'000'000'000));
    STATIC_REQUIRE(is<a_nano>(std::chrono::seconds{9'223'372'037}, longest_duration, length::too_long));
    STATIC_REQUIRE(is<a_nano>(std::chrono::hours::max(), longest_duration, length::too_long));
    STATIC_REQUIRE(is<a_nano>(length_of<unsigned long, std::exa>{~0UL}, longest_duration, length::too_long));
    STATIC_REQUIRE(is<1>(length_of<unsigned long, std::exa>{~0UL}, 9'223'372'036, length::too_long));
    STATIC_REQUIRE(is<1>(std::chrono::seconds{9'223'372'036}, 9'223'372'036));
    STATIC_REQUIRE(is<1>(std::chrono::seconds{9'223'372'037}, 9'223'372'036, length::too_long));
    STATIC_REQUIRE(is<a_micro>(std::chrono::microseconds::max(), 9'223'372'036'854'775, length::too_long));
    STATIC_REQUIRE(is<a_nano>(length_of<double>{std::numeric_limits<double>::infinity()}, longest_duration,
                              length::too_long));
    STATIC_REQUIRE(is<a_nano>(length_of<double>{1e300}, longest_duration, length::too_long));
    STATIC_REQUIRE(
        is<a_nano>(length_of<float>{std::numeric_limits<float>::max()}, longest_duration, length::too_long));
    STATIC_REQUIRE(is<a_nano>(length_of<double>{9.3e9}, longest_duration, length::too_long));
}

TEST_CASE("a duration is what counts in fractions of a second, whoever made it", "[duration]") {
    STATIC_REQUIRE(detail::duration<std::chrono::seconds>);
    STATIC_REQUIRE(detail::duration<std::chrono::milliseconds const>);
    STATIC_REQUIRE(detail::duration<walk>);
    STATIC_REQUIRE(detail::duration<time_left>);
    STATIC_REQUIRE_FALSE(detail::duration<int>);
    STATIC_REQUIRE_FALSE(detail::duration<double>);
    STATIC_REQUIRE_FALSE(detail::duration<no_ratio>);
    STATIC_REQUIRE_FALSE(detail::duration<std::chrono::steady_clock::time_point>);
    STATIC_REQUIRE(detail::time_point<std::chrono::steady_clock::time_point>);
    STATIC_REQUIRE(detail::time_point<std::chrono::system_clock::time_point>);
    STATIC_REQUIRE_FALSE(detail::time_point<std::chrono::seconds>);
    STATIC_REQUIRE_FALSE(detail::time_point<std::string>);
}

TEST_CASE("what a timer has left becomes a duration that can hold all of it", "[duration]") {
    constexpr time_left left{1'500'000'001};
    constexpr std::chrono::nanoseconds exact = left;
    constexpr std::chrono::duration<double> real = left;
    constexpr std::chrono::duration<double, std::milli> in_milliseconds = left;
    STATIC_REQUIRE(exact == 1'500'000'001ns);
    STATIC_REQUIRE((real.count() > 1.5 && real.count() < 1.6));
    STATIC_REQUIRE((in_milliseconds.count() > 1500.0 && in_milliseconds.count() < 1500.1));
    STATIC_REQUIRE(left == time_left{1'500'000'001});
    STATIC_REQUIRE_FALSE(std::is_convertible_v<time_left, std::chrono::seconds>);
    STATIC_REQUIRE_FALSE(std::is_convertible_v<time_left, std::chrono::duration<int, std::nano>>);
    STATIC_REQUIRE_FALSE(std::is_convertible_v<time_left, walk>);
}
