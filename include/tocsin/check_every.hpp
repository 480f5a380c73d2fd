// SPDX-License-Identifier: MIT
// `check_every here{signals, 1ms}; here();`: the safe point of a hot loop.
//
// Runs on any ordinary thread; one such object for each thread. With nothing pending, here() is one load and asks no
// clock. With something pending it runs signals.check(), but at most once in the interval: however many signals come,
// the loop spends its time on its own work. What it puts off stays pending and is not lost; the clock
// (CLOCK_MONOTONIC) is asked only then.
#pragma once

#include <time.h>

#include <cstddef>
#include <cstdint>

#include <tocsin/duration.hpp>
#include <tocsin/posix/duration_refusal.hpp>
#include <tocsin/posix/refusal.hpp>

namespace tocsin {

namespace detail {

[[gnu::visibility("hidden")]] inline constexpr posix::duration_words check_every_words{
    "check_every(negative duration)", nullptr, "check_every(not a number)", "check_every(over 292 years)"};

// By libc, which needs no system call where the kernel has put a clock into the process (vdso(7)).
inline std::uint64_t clock_now() noexcept {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace detail

template <class Guard>
class check_every {
  public:
    // The guard has to outlive it. An interval of 0 puts nothing off. Throws tocsin::error (EINVAL) for one that is
    // negative, NaN or more than 292 years.
    template <detail::duration D>
    check_every(Guard& signals, D const& interval) : signals_{signals} {
        detail::units const length = detail::whole_units<1'000'000'000>(interval);
        if (failure const refused = posix::refusal(length.is, detail::check_every_words)) posix::fail(refused);
        interval_ = length.count;
    }

    // How many deliveries ran. What a reaction throws leaves it, and the interval begins all the same.
    std::size_t operator()() { return signals_.pending() ? check_if_due() : 0; }

    // Without waiting for the interval; it begins anew. For the end of the loop.
    std::size_t now() {
        if (!signals_.pending()) return 0;
        return check(detail::clock_now());
    }

  private:
    [[gnu::noinline]] std::size_t check_if_due() {
        std::uint64_t const now = detail::clock_now();
        return now - last_ >= interval_ || never_ ? check(now) : 0;
    }
    std::size_t check(std::uint64_t now) {
        last_ = now;
        never_ = false;
        return signals_.check();
    }

    Guard& signals_;
    std::uint64_t interval_ = 0;
    std::uint64_t last_ = 0;
    bool never_ = true;  // so that the first signal is not put off
};

template <class Guard, class D>
check_every(Guard&, D const&) -> check_every<Guard>;

}  // namespace tocsin
