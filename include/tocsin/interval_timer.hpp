// SPDX-License-Identifier: MIT
// `interval_timer<ITIMER_REAL> ticks{10ms, 10ms};`: one of the process's three timers, set for a scope.
//
// Runs on any ordinary thread. What the signal does is the program's business: SIGALRM for ITIMER_REAL, SIGVTALRM for
// ITIMER_VIRTUAL, SIGPROF for ITIMER_PROF; without a disposition each ends the process. The destructor gives the timer
// back to who had it before. A process has one timer of each sort, and its alarm is the first of them; so these nest,
// and while one lives those around it wait. Use `timer` where that is too little.
#pragma once

#include <tocsin/duration.hpp>
#include <tocsin/error.hpp>
#include <tocsin/posix/duration_refusal.hpp>
#include <tocsin/posix/process_timer.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/traits.hpp>

namespace tocsin {

namespace detail {

[[gnu::visibility("hidden")]] inline constexpr posix::duration_words interval_value_words{
    "interval_timer(negative value)", "interval_timer(value of zero)", "interval_timer(value not a number)",
    "interval_timer(value over 292 years)"};

[[gnu::visibility("hidden")]] inline constexpr posix::duration_words interval_words{
    "interval_timer(negative interval)", nullptr, "interval_timer(interval not a number)",
    "interval_timer(interval over 292 years)"};

}  // namespace detail

// The signal once `value` has passed, and then every `interval` if one is given, both in microseconds, rounded up.
// ITIMER_REAL counts time, ITIMER_VIRTUAL what the process's threads compute for themselves, ITIMER_PROF what the
// kernel does for them, too; those two in the kernel's ticks, of some milliseconds. The destructor sets the timer
// that was there to what it has left by now: a periodic one stays in step, and one that should have come once
// meanwhile comes a second later. After fork the child has no timers (POSIX), and its copy of this does nothing; exec
// keeps them.
template <int Which>
class interval_timer {
    static_assert(Which == ITIMER_REAL || Which == ITIMER_VIRTUAL || Which == ITIMER_PROF,
                  "tocsin: a process has three interval timers: ITIMER_REAL, ITIMER_VIRTUAL and ITIMER_PROF");

  public:
    // These throw tocsin::error (EINVAL) for a value of zero, and for either that is negative, NaN or more than 292
    // years. Without exceptions they print the error and abort: use the constructors below.
    template <detail::duration Value>
    [[nodiscard]] explicit interval_timer(Value const& value) {
        if (failure const refused = open(value, time_left{})) posix::fail(refused);
    }
    template <detail::duration Value, detail::duration Interval>
    [[nodiscard]] interval_timer(Value const& value, Interval const& interval) {
        if (failure const refused = open(value, interval)) posix::fail(refused);
    }

    // Reports into `ec` instead: 0 for success, else an errno. A timer that failed is empty and converts to false.
    template <class ErrorCode, detail::duration Value>
        requires detail::error_place<ErrorCode>
    [[nodiscard]] interval_timer(ErrorCode& ec, Value const& value) noexcept {
        ec = open(value, time_left{}).errno_code;
    }
    template <class ErrorCode, detail::duration Value, detail::duration Interval>
        requires detail::error_place<ErrorCode>
    [[nodiscard]] interval_timer(ErrorCode& ec, Value const& value, Interval const& interval) noexcept {
        ec = open(value, interval).errno_code;
    }

    // False if the timer could not be set.
    explicit operator bool() const noexcept { return timer_.started(); }

    // Until the signal comes next; 0 if it does not.
    time_left left() const noexcept { return posix::to_time_left(timer_.now().it_value); }
    // 0 if the signal comes once.
    time_left interval() const noexcept { return posix::to_time_left(timer_.now().it_interval); }

  private:
    template <class Value, class Interval>
    failure open(Value const& value, Interval const& interval) noexcept {
        detail::units const first = detail::whole_units<posix::detail::microseconds_a_second>(value);
        detail::units const then = detail::whole_units<posix::detail::microseconds_a_second>(interval);
        if (failure const refused = posix::refusal(first.is, detail::interval_value_words)) return refused;
        if (failure const refused = posix::refusal(then.is, detail::interval_words)) return refused;
        return timer_.start(Which, first.count, then.count);
    }

    posix::process_timer timer_;
};

}  // namespace tocsin
