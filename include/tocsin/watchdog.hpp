// SPDX-License-Identifier: MIT
// `watchdog(d)`: reactions for a program that makes no progress.
//
// Runs on any ordinary thread; the watcher thread looks and the helper thread reacts. A guard's feed() says that all
// is well. Who has not fed for `d` is reacted to once, at most a quarter of `d` late; feeding makes the watchdog
// ready for the next hang. Time is CLOCK_MONOTONIC, which the machine's suspension does not count in. A process that
// was stopped, or that a debugger holds, does not hang. One helper runs the reactions of all watchdogs of the process,
// one row after another: a function of call(f) that does not return holds those that come after it.
#pragma once

#include <errno.h>

#include <tocsin/on.hpp>
#include <tocsin/posix/watcher.hpp>

namespace tocsin {

namespace detail {

__extension__ using wide = unsigned __int128;

// Periods end here, 292 years from now, and so does the sum of the clock and a period.
inline constexpr std::uint64_t longest_watch = ~std::uint64_t{0} >> 1;

// `count` times `num` / `den` seconds as nanoseconds, rounded up.
constexpr std::uint64_t whole_nanoseconds(std::uint64_t count, std::uint64_t num, std::uint64_t den) noexcept {
    constexpr std::uint64_t second = 1'000'000'000;
    wide const whole = static_cast<wide>(count / den) * num;
    wide const rest = static_cast<wide>(count % den) * num;
    if (whole > longest_watch / second || rest / den > longest_watch / second) return longest_watch;
    wide const sum = whole * second + (rest * second + den - 1) / den;
    return sum < longest_watch ? static_cast<std::uint64_t>(sum) : longest_watch;
}

constexpr std::uint64_t whole_nanoseconds(long double exact) noexcept {
    if (exact >= static_cast<long double>(longest_watch)) return longest_watch;
    auto const below = static_cast<std::uint64_t>(exact);
    return below + (static_cast<long double>(below) < exact ? 1 : 0);
}

// Whatever counts in fractions of a second, such as std::chrono's; naming that header costs more to include than all
// of this one.
template <class D>
concept duration = requires(D const& d) {
    d.count();
    { D::period::num } -> std::convertible_to<long long>;
    { D::period::den } -> std::convertible_to<long long>;
};

// In nanoseconds, rounded up; 0 for what is no period.
template <duration D>
constexpr std::uint64_t watch_period(D const& of) noexcept {
    auto const count = of.count();
    constexpr auto num = static_cast<std::uint64_t>(D::period::num);
    constexpr auto den = static_cast<std::uint64_t>(D::period::den);
    if (!(count > 0)) return 0;  // NaN, too
    if constexpr (std::is_integral_v<decltype(of.count())>)
        return whole_nanoseconds(static_cast<std::uint64_t>(count), num, den);
    else
        return whole_nanoseconds(static_cast<long double>(count) * num / den * 1e9L);
}

}  // namespace detail

struct watch_state;

// The trigger of a watchdog's row.
struct on_hang {
    using state = watch_state;
    static constexpr bool crash = false;
    static constexpr bool hang = true;
    static constexpr unsigned count = 0;

    std::uint64_t period;
    posix::watch watch{};

    // For deferred reactions: all watchdogs of a guard share one place in an inbox, and each of them remembers how
    // often it was.
    void note_hang() noexcept { watch.unanswered.fetch_add(1); }
    unsigned long take_hangs() noexcept {
        return watch.unanswered.load() != 0 ? watch.unanswered.exchange(0) : 0;
    }
};

// The guard's watchdogs.
struct watch_state {
    static constexpr feature provides = feature::watchdog;

    posix::watch_list watches;

    failure open(posix::opening const& to) noexcept { return watches.open(to); }
    failure start() noexcept { return watches.start(); }
    void close() noexcept { watches.close(); }
    failure rearm() noexcept { return watches.rearm(); }

    template <class Program>
    failure add(on_hang& trigger, Program& program) noexcept {
        if (trigger.period == 0) return {EINVAL, "watchdog", 0};
        watches.add(trigger.watch, trigger.period, &program, [](void* self, in_signal::arrival& hang) {
            (*static_cast<Program*>(self))(hang);
        });
        return {};
    }
};

// A watchdog that has not been told what to do yet.
class watchdog_row {
  public:
    constexpr explicit watchdog_row(std::uint64_t period) noexcept : period_{period} {}

    template <class... R>
    constexpr auto operator()(R... reactions) const {
        constexpr bool words = detail::check_words<R...>();
        if constexpr (words)
            static_assert((R::on_hang && ...),
                          "tocsin: a watchdog has no signal to chain, ignore or take the default of; use call, wake, "
                          "defer, request_stop, dump_threads, in_handler or exit_with");
        return row<on_hang, true, R...>{on_hang{period_}, make_list(std::move(reactions)...)};
    }

  private:
    std::uint64_t period_;
};

// watchdog(30s)(dump_threads): these reactions once the guard has not been fed for that long. Any duration that has
// count() and a period, rounded up to whole nanoseconds; below 1 ms it is taken for 1 ms. Zero, negative ones and NaN
// are an error of the guard (EINVAL). Armed from the guard's construction on.
template <detail::duration D>
constexpr watchdog_row watchdog(D const& period) noexcept {
    return watchdog_row{detail::watch_period(period)};
}

}  // namespace tocsin
