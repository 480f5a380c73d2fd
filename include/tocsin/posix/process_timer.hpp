// SPDX-License-Identifier: MIT
// One of the three timers that a process has (setitimer), set for a scope.
//
// Runs on any ordinary thread. What was there before goes on where it would be by now. Not in a forked child: fork
// clears the timers of the child (POSIX, fork), so that there is nothing to put back.
#pragma once

#include <errno.h>
#include <sys/time.h>
#include <time.h>

#include <cstdint>

#include <tocsin/duration.hpp>
#include <tocsin/failure.hpp>
#include <tocsin/in_signal/system.hpp>

namespace tocsin::posix {

namespace detail {

inline constexpr std::uint64_t microseconds_a_second = 1'000'000;

inline timeval to_timeval(std::uint64_t microseconds) noexcept {
    return {static_cast<time_t>(microseconds / microseconds_a_second),
            static_cast<suseconds_t>(microseconds % microseconds_a_second)};
}

inline std::uint64_t to_microseconds(timeval const& of) noexcept {
    return static_cast<std::uint64_t>(of.tv_sec) * microseconds_a_second +
           static_cast<std::uint64_t>(of.tv_usec);
}

// The clock that a timer counts on: CPU timers have those that the kernel makes from the process 0, "this one", and
// the sort of time (include/linux/posix-timers.h, make_process_cpuclock: CPUCLOCK_PROF is 0, CPUCLOCK_VIRT 1).
inline clockid_t clock_of(int which) noexcept {
    constexpr int this_process = -8;
    if (which == ITIMER_REAL) return CLOCK_MONOTONIC;
    return which == ITIMER_PROF ? this_process : this_process + 1;
}

// 0 on a kernel that does not know the clock; no time has passed then.
inline std::uint64_t microseconds_on(clockid_t clock) noexcept {
    timespec now{};
    if (::clock_gettime(clock, &now) != 0) return 0;
    return static_cast<std::uint64_t>(now.tv_sec) * microseconds_a_second +
           static_cast<std::uint64_t>(now.tv_nsec) / 1000;
}

}  // namespace detail

// What is left of `value` after `passed`, all in microseconds. A periodic timer stays in step. One that should have
// come once comes in a second, the shortest time that alarm(2) knows: by then whoever set the timer in between has
// put back the disposition, too.
constexpr std::uint64_t still_left(std::uint64_t value, std::uint64_t interval,
                                   std::uint64_t passed) noexcept {
    if (value == 0) return 0;
    if (passed < value) return value - passed;
    return interval == 0 ? detail::microseconds_a_second : interval - (passed - value) % interval;
}

inline time_left to_time_left(timeval const& of) noexcept {
    return time_left{static_cast<std::int64_t>(detail::to_microseconds(of)) * 1000};
}

class process_timer {
  public:
    constexpr process_timer() noexcept = default;
    ~process_timer() { restore(); }
    process_timer(process_timer const&) = delete;
    process_timer& operator=(process_timer const&) = delete;

    failure start(int which, std::uint64_t value, std::uint64_t interval) noexcept {
        itimerval const wanted{detail::to_timeval(interval), detail::to_timeval(value)};
        if (::setitimer(which, &wanted, &before_) != 0) return {errno, "setitimer", 0};
        which_ = which;
        started_ = detail::microseconds_on(detail::clock_of(which));
        process_ = in_signal::getpid();
        return {};
    }

    bool started() const noexcept { return process_ != 0; }

    // What the timer has left and repeats now, whoever set it.
    itimerval now() const noexcept {
        itimerval found{};
        if (started()) ::getitimer(which_, &found);
        return found;
    }

  private:
    void restore() const noexcept {
        if (!started() || process_ != in_signal::getpid()) return;
        std::uint64_t const passed = detail::microseconds_on(detail::clock_of(which_)) - started_;
        std::uint64_t const interval = detail::to_microseconds(before_.it_interval);
        std::uint64_t const left = still_left(detail::to_microseconds(before_.it_value), interval, passed);
        itimerval const wanted{before_.it_interval, detail::to_timeval(left)};
        ::setitimer(which_, &wanted, nullptr);
    }

    itimerval before_{};
    std::uint64_t started_ = 0;
    std::int32_t process_ = 0;  // that it was set in
    int which_ = 0;
};

}  // namespace tocsin::posix
