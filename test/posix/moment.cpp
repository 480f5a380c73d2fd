// SPDX-License-Identifier: MIT
#include <tocsin/posix/moment.hpp>

#include <chrono>
#include <limits>

#include "support/catch.hpp"

using namespace std::chrono_literals;
using namespace tocsin::posix;

namespace {

constexpr duration_words words{"negative", nullptr, "no number", "too long"};

// A clock that stands where it is put.
struct standing {
    using rep = long long;
    using period = std::nano;
    using duration = std::chrono::nanoseconds;
    using time_point = std::chrono::time_point<standing>;
    static constexpr bool is_steady = true;

    static inline duration at{0};
    static time_point now() { return time_point{at}; }
};

}  // namespace

TEST_CASE("what is left of a length gets less and ends at 0", "[moment]") {
    after const soon{1ms, words};
    CHECK_FALSE(soon.refused());
    std::uint64_t last = soon.left();
    CHECK(last <= 1'000'000);
    while (last != 0) {
        std::uint64_t const now = soon.left();
        if (now > last) FAIL("more is left than before");
        last = now;
    }
    CHECK(after{0s, words}.left() == 0);
    CHECK_FALSE(after{0s, words}.refused());
    CHECK(no_end{}.left() == tocsin::detail::longest_duration);
}

TEST_CASE("a length that is none is refused in its words", "[moment]") {
    CHECK(after{-1ns, words}.refused().call == words.negative);
    CHECK(after{std::chrono::duration<float>{std::numeric_limits<float>::quiet_NaN()}, words}.refused().call ==
          words.not_a_number);
    CHECK(after{std::chrono::hours::max(), words}.refused().call == words.too_long);
}

TEST_CASE("a point is as far away as its clock says", "[moment]") {
    standing::at = 5s;
    tocsin::posix::at<standing::time_point> const point{standing::time_point{7s}, words};
    CHECK(point.left() == 2'000'000'000);
    standing::at = -1h;
    CHECK(point.left() == 3'607'000'000'000);
    standing::at = 7s;
    CHECK(point.left() == 0);
    standing::at = 1h;
    CHECK(point.left() == 0);
}

TEST_CASE("a clock that is not steady is looked at every second", "[moment]") {
    auto const later = std::chrono::system_clock::now() + 1h;
    tocsin::posix::at<std::chrono::system_clock::time_point> const point{later, words};
    CHECK(point.left() == 1'000'000'000);
}
