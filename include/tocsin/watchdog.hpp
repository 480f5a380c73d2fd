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

#include <tocsin/duration.hpp>
#include <tocsin/on.hpp>
#include <tocsin/posix/watch_list.hpp>
#include <tocsin/traits.hpp>

namespace tocsin {

namespace detail {

// Periods end here, and so does the sum of the clock and a period.
inline constexpr std::uint64_t longest_watch = longest_duration;

// In nanoseconds, rounded up; 0 for what is no period.
template <duration D>
constexpr std::uint64_t watch_period(D const& of) noexcept {
    return whole_units<1'000'000'000>(of).count;
}

}  // namespace detail

struct watch_state;

// The trigger of a watchdog's row, or of one stage of it.
template <watch_name Name>
struct on_hang {
    using state = watch_state;
    static constexpr bool crash = false;
    static constexpr bool hang = true;
    static constexpr unsigned count = 0;
    static constexpr auto name = Name;

    std::uint64_t period;
    std::uint64_t every = 0;
    char const* wrong = nullptr;  // the word whose duration cannot be
    posix::watch watch{};

    // For deferred reactions: all watchdogs of a guard share one place in an inbox, and each of them remembers how
    // often it was.
    void note_hang() noexcept { watch.unanswered.fetch_add(1); }
    unsigned long take_hangs() noexcept {
        return watch.unanswered.load() != 0 ? watch.unanswered.exchange(0) : 0;
    }
};

// A rest of a guard's watchdogs; see guard::resting().
class [[nodiscard]] watch_rest {
  public:
    explicit watch_rest(posix::watch_list& of) noexcept : of_{of}, generation_{of.begin_rest()} {}
    ~watch_rest() { of_.end_rest(generation_); }
    watch_rest(watch_rest const&) = delete;
    watch_rest& operator=(watch_rest const&) = delete;

  private:
    posix::watch_list& of_;
    std::uint32_t generation_;
};

// The guard's watchdogs.
struct watch_state {
    static constexpr feature provides = feature::watchdog;

    posix::watch_list watches;

    failure open(posix::opening const& to) noexcept { return watches.open(to); }
    failure start() noexcept { return watches.start(); }
    void close() noexcept { watches.close(); }
    failure rearm() noexcept { return watches.rearm(); }
    bool closed() const noexcept { return watches.closed(); }
    watch_rest rest() noexcept { return watch_rest{watches}; }

    // `fed_by` is the place of the word that feeds it.
    template <watch_name Name, class Program>
    failure add(on_hang<Name>& trigger, Program& program, unsigned fed_by) noexcept {
        if (trigger.wrong != nullptr) return {EINVAL, trigger.wrong, 0};
        posix::watch& added = trigger.watch;
        added.at = trigger.period;
        added.every = trigger.every;
        added.program = &program;
        added.run = [](void* self, in_signal::arrival& hang) { (*static_cast<Program*>(self))(hang); };
        return watches.add(added, fed_by, Name.empty ? nullptr : on_hang<Name>::name.text);
    }
    // A trigger that is no watchdog of the guard's own words; see watchdogs.hpp.
    template <class Trigger, class Program>
    failure add(Trigger& trigger, Program& program, unsigned) noexcept {
        return trigger.attach(watches, program);
    }
};

template <watch_name Name, class... Stages>
class watch_stage;

// A watchdog with its reactions: a row for each stage.
template <watch_name Name, class... Stages>
class watch_rows {
  public:
    using rows_type = list<Stages...>;
    using trigger_type = on_hang<Name>;
    static constexpr auto name = Name;

    // watchdog(5s)(dump_threads).then(30s)(exit_with(1)): another stage, once nobody has fed it for that long. Like
    // the first, it is counted from the last feed, and has to be later than the stage before (else EINVAL).
    template <class D>
    constexpr watch_stage<Name, Stages...> then(D const& period) && noexcept {
        constexpr bool fits = detail::duration<D>;
        static_assert(fits, "tocsin: then(d) takes a duration; say the unit: then(30s)");
        if constexpr (fits) return {detail::moved(rows), detail::watch_period(period)};
        return {detail::moved(rows), 0};
    }

    // The stage that it follows reacts again each time this has passed while the hang lasts.
    template <class D>
    constexpr watch_rows every(D const& period) && noexcept {
        constexpr bool fits = detail::duration<D>;
        static_assert(fits, "tocsin: every(d) takes a duration; say the unit: every(60s)");
        if constexpr (fits) {
            std::uint64_t const length = detail::watch_period(period);
            auto& trigger = last_of(rows).trigger;
            if (length == 0 && trigger.wrong == nullptr) trigger.wrong = "watchdog.every";
            trigger.every = length < posix::shortest_watch ? posix::shortest_watch : length;
        }
        return detail::moved(*this);
    }

    constexpr watch_rows interrupting() && {
        constexpr bool never_fits = sizeof...(Stages) == 0;
        static_assert(never_fits, "tocsin: a watchdog interrupts no system call; interrupting() is for on<SIG...>");
        return detail::moved(*this);
    }

    template <class First>
    static constexpr First& last_of(list<First>& of) noexcept {
        return of.first;
    }
    template <class First, class Second, class... Rest>
    static constexpr auto& last_of(list<First, Second, Rest...>& of) noexcept {
        return last_of(of.rest);
    }

    rows_type rows;
};

namespace detail {

template <watch_name Name, class... Stages>
inline constexpr bool is_row<watch_rows<Name, Stages...>> = true;

template <class Added>
constexpr list<Added> add_stage(list<>&&, Added&& added) {
    return {detail::moved(added), {}};
}
template <class First, class... Rest, class Added>
constexpr list<First, Rest..., Added> add_stage(list<First, Rest...>&& before, Added&& added) {
    return {detail::moved(before.first), add_stage(detail::moved(before.rest), detail::moved(added))};
}

}  // namespace detail

// A watchdog, or a further stage of one, that has not been told what to do yet.
template <watch_name Name, class... Before>
class watch_stage {
  public:
    constexpr watch_stage(list<Before...>&& before, std::uint64_t period) noexcept
        : before_{detail::moved(before)}, period_{period} {}

    template <class... R>
    constexpr auto operator()(R... reactions) && {
        if constexpr (decltype(detail::check_words<R...>())::value) {
            constexpr bool fit = (R::on_hang && ...);
            static_assert(fit,
                          "tocsin: a watchdog has no signal to chain, ignore or take the default of; use call, wake, "
                          "defer, request_stop, dump_threads, in_handler or exit_with");
            if constexpr (fit) {
                using added = row<on_hang<Name>, true, R...>;
                return watch_rows<Name, Before..., added>{detail::add_stage(
                    detail::moved(before_),
                    added{on_hang<Name>{period_, 0, wrong()}, make_list(detail::moved(reactions)...)})};
            } else {
                return detail::refused{};
            }
        } else {
            return detail::refused{};
        }
    }

  private:
    constexpr char const* wrong() noexcept {
        if constexpr (sizeof...(Before) == 0)
            return period_ == 0 ? "watchdog(period not above zero)" : nullptr;
        else
            return period_ <= watch_rows<Name, Before...>::last_of(before_).trigger.period ? "watchdog.then" : nullptr;
    }

    [[no_unique_address]] list<Before...> before_;
    std::uint64_t period_;
};

// watchdog(30s)(dump_threads): these reactions once the guard has not been fed for that long. Any duration that has
// count() and a period, rounded up to whole nanoseconds; below 1 ms it is taken for 1 ms. Zero, negative ones and NaN
// are an error of the guard (EINVAL). Armed from the guard's construction on. watchdog<"render">(5s) is fed by
// feed<"render">() and by nothing else.
template <watch_name Name = "", class D>
constexpr watch_stage<Name> watchdog(D const& period) noexcept {
    constexpr bool fits = detail::duration<D>;
    static_assert(fits, "tocsin: watchdog(d) takes a duration; say the unit: watchdog(30s)");
    if constexpr (fits) return {list<>{}, detail::watch_period(period)};
    return {list<>{}, 0};
}

}  // namespace tocsin
