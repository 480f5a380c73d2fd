// SPDX-License-Identifier: MIT
// `alarm_guard limit{5s};`: the process's alarm, set for a scope.
//
// Runs on any ordinary thread. What SIGALRM does is the program's business, as it is with alarm(2): without a
// disposition it ends the process. The destructor gives the alarm back to who had it before. A process has one alarm,
// which alarm(2), setitimer(ITIMER_REAL) and these guards share, on whatever thread; so guards nest, and while one
// lives the alarms around it wait. Use `timer` where that is too little.
#pragma once

#include <tocsin/duration.hpp>
#include <tocsin/error.hpp>
#include <tocsin/posix/duration_refusal.hpp>
#include <tocsin/posix/process_timer.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/traits.hpp>

namespace tocsin {

namespace detail {

[[gnu::visibility("hidden")]] inline constexpr posix::duration_words alarm_words{
    "alarm_guard(negative duration)", "alarm_guard(zero)", "alarm_guard(not a number)",
    "alarm_guard(over 292 years)"};

}  // namespace detail

// SIGALRM for the process once that long has passed, in whole seconds, rounded up. Destroyed earlier, it does not
// come. The destructor sets the alarm that was there to what it has left by now; one that should have come meanwhile
// comes a second later. An interval timer's period is kept. After fork the child has no alarm (POSIX), and its copy of
// the guard does nothing; exec keeps the alarm.
class alarm_guard {
  public:
    // Throws tocsin::error (EINVAL) for zero, what is negative, NaN and more than 292 years. Without exceptions it
    // prints the error and aborts: use the constructor below.
    template <detail::duration D>
    [[nodiscard]] explicit alarm_guard(D const& after) {
        if (failure const refused = open(after)) posix::fail(refused);
    }

    // Reports into `ec` instead: 0 for success, else an errno. A guard that failed is empty and converts to false.
    template <class ErrorCode, detail::duration D>
        requires detail::error_place<ErrorCode>
    [[nodiscard]] alarm_guard(ErrorCode& ec, D const& after) noexcept { ec = open(after).errno_code; }

    // False if the alarm could not be set.
    explicit operator bool() const noexcept { return alarm_.started(); }

    // Until SIGALRM comes; 0 if it has.
    time_left left() const noexcept { return posix::to_time_left(alarm_.now().it_value); }

  private:
    template <class D>
    failure open(D const& after) noexcept {
        detail::units const seconds = detail::whole_units<1>(after);
        if (failure const refused = posix::refusal(seconds.is, detail::alarm_words)) return refused;
        return alarm_.start(ITIMER_REAL, seconds.count * posix::detail::microseconds_a_second, 0);
    }

    posix::process_timer alarm_;
};

}  // namespace tocsin
