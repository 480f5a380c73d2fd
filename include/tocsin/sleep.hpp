// SPDX-License-Identifier: MIT
// `sleep_for(d)` and `sleep_until(p)`: sleep that a signal does not shorten.
//
// Runs on any ordinary thread. nanosleep(2) and poll(2) return early after a handler, SA_RESTART or not (signal(7)).
// These sleep towards a point of time, so the handler runs and the rest is slept, without the drift that comes from
// starting anew with what was left. Cancellation points, as all sleep is.
#pragma once

#include <errno.h>
#include <time.h>

#include <tocsin/duration.hpp>
#include <tocsin/error.hpp>
#include <tocsin/posix/duration_refusal.hpp>
#include <tocsin/posix/moment.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/posix/timer.hpp>
#include <tocsin/traits.hpp>

namespace tocsin {

namespace detail {

[[gnu::visibility("hidden")]] inline constexpr posix::duration_words sleep_for_words{
    "sleep_for(negative duration)", nullptr, "sleep_for(not a number)", "sleep_for(over 292 years)"};
[[gnu::visibility("hidden")]] inline constexpr posix::duration_words sleep_until_words{
    "sleep_until(negative)", nullptr, "sleep_until(not a number)",
    "sleep_until(over 292 years from the clock's beginning)"};

using posix::signed_nanoseconds;
using posix::signed_wide;

// Its errno, 0 for success, EINTR after a handler.
inline int sleep_once(clockid_t clock, std::uint64_t deadline) {
    timespec const at = posix::to_timespec(deadline);
    return ::clock_nanosleep(clock, TIMER_ABSTIME, &at, nullptr);
}

template <class D>
failure sleep_length(D const& length) {
    units const nanoseconds = whole_units<posix::nanoseconds_a_second>(length);
    if (failure const refused = posix::refusal(nanoseconds.is, sleep_for_words)) return refused;
    if (nanoseconds.count == 0) return {};
    std::uint64_t const deadline = in_signal::monotonic() + nanoseconds.count;
    int code = EINTR;
    while (code == EINTR) code = sleep_once(CLOCK_MONOTONIC, deadline);
    return {code, "clock_nanosleep", 0};
}

// Whether a clock is CLOCK_REALTIME: it converts to what time(2) counts, without another beginning.
template <class Clock>
bool is_wall_clock() {
    if constexpr (requires { Clock::to_time_t(Clock::now()); }) {
        constexpr auto second = static_cast<signed_wide>(posix::nanoseconds_a_second);
        auto const now = Clock::now();
        length is{};
        signed_wide const apart = signed_nanoseconds(now.time_since_epoch(), is) -
                                  static_cast<signed_wide>(Clock::to_time_t(now)) * second;
        return -second < apart && apart < second;
    } else {
        return false;
    }
}

// The kernel knows when the wall clock is set, and wakes who sleeps towards a time that has come by that
// (clock_nanosleep(2)). Of other clocks only their distance from now is known; each wakening looks again.
template <class P>
failure sleep_point(P const& until) {
    using clock = typename P::clock;
    length is{};
    signed_wide const then = signed_nanoseconds(until.time_since_epoch(), is);
    if (failure const refused = posix::refusal(is, sleep_until_words)) return refused;
    bool const wall = then > 0 && is_wall_clock<clock>();
    for (;;) {
        signed_wide const left = then - signed_nanoseconds(clock::now().time_since_epoch(), is);
        if (left <= 0) return {};
        auto const bounded = static_cast<std::uint64_t>(left < longest_duration ? left : longest_duration);
        int const code = wall ? sleep_once(CLOCK_REALTIME, static_cast<std::uint64_t>(then))
                              : sleep_once(CLOCK_MONOTONIC, in_signal::monotonic() + bounded);
        if (code != 0 && code != EINTR) return {code, "clock_nanosleep", 0};
    }
}

}  // namespace detail

// Sleeps at least that long, on CLOCK_MONOTONIC, which the machine's suspension does not count in; 0 returns at once.
// Throws tocsin::error (EINVAL) for what is negative, NaN or more than 292 years; a deadline that may have passed is
// for sleep_until. Without exceptions it prints the error and aborts: use the one with `ec`.
template <detail::duration D>
void sleep_for(D const& length) {
    if (failure const refused = detail::sleep_length(length)) posix::fail(refused);
}

// Reports into `ec` instead: 0 for success, else an errno.
template <class ErrorCode, detail::duration D>
    requires detail::error_place<ErrorCode>
void sleep_for(ErrorCode& ec, D const& length) { ec = detail::sleep_length(length).errno_code; }

// Sleeps until the point's own clock says that it has come; returns at once if it has. Any clock of std::chrono, or
// of the program's. Throws tocsin::error (EINVAL) for a point that is no number, or out of a clock's range.
template <detail::time_point P>
void sleep_until(P const& until) {
    if (failure const refused = detail::sleep_point(until)) posix::fail(refused);
}

template <class ErrorCode, detail::time_point P>
    requires detail::error_place<ErrorCode>
void sleep_until(ErrorCode& ec, P const& until) { ec = detail::sleep_point(until).errno_code; }

}  // namespace tocsin
