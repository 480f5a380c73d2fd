// SPDX-License-Identifier: MIT
// What a guard keeps: its rows with their programs, the state that they share, and its claims.
//
// Runs on any ordinary thread; the programs run in the handler. It lives on the heap, counted, because a reaction
// may destroy the guard that it belongs to.
#pragma once

#include <new>

#include <tocsin/failure.hpp>
#include <tocsin/on.hpp>
#include <tocsin/posix/opening.hpp>
#include <tocsin/posix/kept_stack.hpp>
#include <tocsin/posix/reserved.hpp>
#include <tocsin/row_claim.hpp>
#include <tocsin/row_program.hpp>
#include <tocsin/signal_set.hpp>
#include <tocsin/traits.hpp>

namespace tocsin::detail {

// A row with its program. Its links lie with those of the other rows, from number `First` on.
template <class Row, class States, unsigned First>
struct installed_row {
    using row_type = Row;
    using trigger = typename Row::trigger_type;
    using program_type = decltype(build_program(detail::some<Row&>(), detail::some<States&>()));
    static constexpr unsigned first_link = First;
    static constexpr unsigned end_of_links = First + trigger::count;
    static constexpr bool done_at_once = at_once<Row>;

    [[no_unique_address]] Row row;
    [[no_unique_address]] program_type program;

    installed_row(Row&& from, States& states, in_signal::row_link* links)
        : row{detail::moved(from)}, program{build_program(row, states)} {
        if constexpr (trigger::count != 0) {
            int numbers[trigger::count];
            trigger::numbers(numbers);
            for (unsigned i = 0; i < trigger::count; ++i)
                prepare_link(links + First + i, link_runner<Row, program_type>(), &program, numbers[i],
                             words_of_link(words_of_row<Row>(), numbers[i]));
        }
    }

    static std::uint64_t places(row_links const& of) noexcept {
        if constexpr (trigger::count == 0)
            return in_signal::bit_of(in_signal::watchdog_place);
        else
            return of.places(first_link, end_of_links);
    }
};

// The rows of a guard, each built where it stays.
template <class States, unsigned FirstLink, class... Rows>
struct row_list {
    row_list(States&, in_signal::row_link*, list<>&&) noexcept {}
    template <class Visit>
    void each(Visit&&) {}
};
template <class States, unsigned FirstLink, class First, class... Rest>
struct row_list<States, FirstLink, First, Rest...> {
    installed_row<First, States, FirstLink> first;
    row_list<States, FirstLink + First::trigger_type::count, Rest...> rest;

    row_list(States& states, in_signal::row_link* links, list<First, Rest...>&& rows)
        : first{detail::moved(rows.first), states, links}, rest{states, links, detail::moved(rows.rest)} {}

    template <class Visit>
    void each(Visit&& visit) {
        visit(first);
        rest.each(visit);
    }
};

// What the code works on that all guards share.
class guard_core {
  public:
    // All that is done for rows that have everything done in the handler.
    [[gnu::visibility("hidden"), gnu::noinline, gnu::cold]] failure install() noexcept {
        failure refused = posix::find_table(in_);
        if (refused) return refused;
        process_ = posix::live_process(*in_);
        refused = links_.claim(*in_);
        if (refused) uninstall();
        return refused;
    }
    // And what undoes it; nothing if it failed.
    [[gnu::visibility("hidden"), gnu::noinline, gnu::cold]] void uninstall() noexcept { links_.withdraw(*in_); }

  protected:
    explicit guard_core(row_links links) noexcept : links_{links} {}

    in_signal::table* in_ = nullptr;
    std::int32_t process_ = 0;
    row_links links_;
};

template <class R>
concept is_opened = requires(R& reaction, posix::opening const& to) { reaction.open(to); } ||
                    requires(R& reaction) { reaction.start(); } || requires(R& reaction) { reaction.close(); };

template <class Row>
inline constexpr bool is_done_in_handler = false;
template <class Trigger, row_options Options, class... R>
inline constexpr bool is_done_in_handler<row<Trigger, Options, R...>> =
    !Trigger::crash && !Trigger::hang && !has_any_realtime<Trigger> &&
    !row_words<row<Trigger, Options, R...>>::captures && !row_words<row<Trigger, Options, R...>>::respects_ignore &&
    (!is_opened<R> && ...);

template <class... Rows>
class guard_state : public guard_core {
    using states_type = unique_states<Rows...>;

  public:
    static constexpr bool can_be_rearmed = states_type::count != 0 || (row_words<Rows>::captures || ...);

    template <feature Wanted>
    static constexpr bool has() {
        return states_type::template has<Wanted>;
    }
    template <class Reaction>
    static constexpr bool contains() {
        return (row_words<Rows>::template contains<Reaction> || ...);
    }
    // The word that feeds the watchdog of this name; stages of one watchdog are several rows of one name.
    template <auto Name>
    static constexpr unsigned place_of = feed_place<Name, typename Rows::trigger_type...>();
    static constexpr unsigned feed_words = 1 + count_names<typename Rows::trigger_type...>();
    static constexpr bool has_unnamed = ((Rows::trigger_type::hang ? 1U : 0U) + ... + 0U) >= feed_words;
    template <feature Wanted>
    auto& shared() noexcept {
        return states_.template by_feature<Wanted>();
    }

    // Then nothing of it has to be closed, and nobody else keeps it.
    static constexpr bool all_in_handler = states_type::count == 0 && (is_done_in_handler<Rows> && ...) &&
                                           copies_as_bytes<list<Rows...>>;

    explicit guard_state(list<Rows...>&& rows)
        : guard_core{{first_link(), link_count, 0}}, rows_{states_, first_link(), detail::moved(rows)} {}

    // The words live in the guard itself; those of `fed` are numbered by feed_place.
    failure open(in_signal::atomic<std::uint64_t>& pending, in_signal::atomic<std::uint32_t>* fed,
                 in_signal::atomic<std::uint32_t>& resting) noexcept {
        failure refused = posix::find_table(in_);
        if (refused) return refused;
        process_ = posix::live_process(*in_);
        refused = open_parts(pending, fed, resting);
        if (refused) close();
        return refused;
    }

    // Withdraws the claims first: afterwards no handler is inside, and the rest can be taken down.
    void close() noexcept {
        closing_.store(1);
        states_.each([this](auto& state) {
            if constexpr (requires { state.box(); }) posix::settle(*in_, state.box());
        });
        links_.withdraw(*in_);
        rows_.each([this](auto& each) { this->tell_orphans(each); });
        states_.each([](auto& state) { state.close(); });
        rows_.each([](auto& each) { each.row.reactions.each(close_reaction); });
        if constexpr (any_reserved) reserved_.close(*in_);  // a report that is being written still asks threads with it
    }

    failure rearm() {
        posix::adopt_process(*in_);
        failure refused{};
        states_.each([&](auto& state) {
            if (!refused && process_ != in_signal::getpid()) refused = state.rearm();
        });
        rows_.each([&](auto& each) {
            each.row.reactions.each([&](auto& reaction) {
                if constexpr (requires { reaction.rearm(); })
                    if (!refused && process_ != in_signal::getpid()) refused = reaction.rearm();
            });
        });
        if (!refused) process_ = in_signal::getpid();
        return refused;
    }

    signal_set taken() const noexcept { return signal_set::of_bits(links_.taken(*in_)); }
    failure take_back(signal_set signals) noexcept { return links_.take_back(*in_, signals.bits()); }

    static void keep(void* self) noexcept { static_cast<guard_state*>(self)->references_.fetch_add(1); }
    static void release(void* self) noexcept {
        auto* const state = static_cast<guard_state*>(self);
        if (state->references_.fetch_sub(1) == 1) delete state;
    }

  private:
    in_signal::row_link* first_link() noexcept { return reinterpret_cast<in_signal::row_link*>(link_memory_); }

    static constexpr bool any_crash = (Rows::trigger_type::crash || ...);
    // Threads are asked for their frames by the reserved signal, and to open a real-time signal that they had to mask.
    static constexpr bool any_reserved =
        (row_words<Rows>::captures || ...) || (has_any_realtime<typename Rows::trigger_type> || ...);

    [[gnu::visibility("hidden")]] static constexpr auto close_reaction = [](auto& reaction) {
        if constexpr (requires { reaction.close(); }) reaction.close();
    };

    failure open_parts(in_signal::atomic<std::uint64_t>& pending, in_signal::atomic<std::uint32_t>* fed,
                       in_signal::atomic<std::uint32_t>& resting) noexcept {
        posix::opening const to{in_, this, &keep, &release, &pending, fed, &resting};
        failure refused{};
        auto const unless_refused = [&](auto&& step) {
            if (!refused) refused = step();
        };
        states_.each([&](auto& state) { unless_refused([&] { return state.open(to); }); });
        states_.each([&](auto& state) { use_runner(state); });
        rows_.each([&](auto& each) { unless_refused([&] { return open_row(each, to); }); });
        if constexpr (any_crash) unless_refused([&] { return posix::keep_alternate_stack(*in_); });
        if constexpr (any_reserved) unless_refused([&] { return reserved_.open(*in_, all_places()); });
        if constexpr ((has_any_realtime<typename Rows::trigger_type> || ...))
            unless_refused([&] { return links_.check_numbers(); });
        if constexpr ((row_words<Rows>::respects_ignore || ...))
            if (!refused) links_.leave_ignored(*in_);
        unless_refused([&] { return links_.claim(*in_); });
        states_.each([&](auto& state) {
            if constexpr (requires { state.start(); }) unless_refused([&] { return state.start(); });
        });
        rows_.each([&](auto& each) { unless_refused([&] { return start_row(each); }); });
        return refused;
    }

    template <class Installed>
    failure open_row(Installed& each, posix::opening const& to) noexcept {
        failure refused{};
        each.row.reactions.each([&](auto& reaction) {
            if constexpr (requires { reaction.open(to); })
                if (!refused) refused = reaction.open(to);
            if constexpr (Installed::trigger::crash && requires { reaction.open_on_crash(to); })
                if (!refused) reaction.open_on_crash(to);
            if constexpr (requires { states_.of(reaction).box(); })
                if constexpr (has_any_realtime<typename Installed::trigger>)
                    for (unsigned i = each.first_link; i < each.end_of_links; ++i)
                        if (!refused && links_.first[i].number >= SIGRTMIN && links_.first[i].number <= SIGRTMAX)
                            refused = posix::add_ring(states_.of(reaction).box(), links_.first[i].number,
                                                      in_->limit.records);
        });
        if constexpr (Installed::trigger::hang) {
            constexpr unsigned fed_by = place_of<Installed::trigger::name>;
            auto& watchdogs = states_.template by_feature<feature::watchdog>();
            if (!refused) refused = watchdogs.add(each.row.trigger, each.program, fed_by);
        }
        return refused;
    }

    // What was pending when the claims were withdrawn has nobody left who will ask for it.
    template <class Installed>
    void tell_orphans(Installed& each) noexcept {
        if constexpr (row_words<typename Installed::row_type>::tells_orphans) {
            auto& point = states_.template by_feature<feature::safe_point>().point;
            for (unsigned i = each.first_link; i < each.end_of_links; ++i)
                point.drain(links_.first[i].number, [&](delivery const& what, unsigned step) {
                    unsigned index = 0;
                    each.row.reactions.each([&]<class R>(R& reaction) {
                        bool const ran = R::where == stage::safe_point && index++ < step;
                        if constexpr (requires { reaction.orphan(what); })
                            if (!ran) reaction.orphan(what);
                    });
                });
        }
    }

    // Reactions that leave their work to a thread of the library start it, unless their row does it at once.
    template <class Installed>
    static failure start_row(Installed& each) noexcept {
        failure refused{};
        if constexpr (!Installed::done_at_once)
            each.row.reactions.each([&](auto& reaction) {
                if constexpr (requires { reaction.start(); })
                    if (!refused) refused = reaction.start();
            });
        return refused;
    }

    template <class State>
    void use_runner(State& state) noexcept {
        if constexpr (requires { state.use(nullptr, nullptr); })
            state.use(&run_deferred<State>, &places_of_row);
    }

    std::uint64_t all_places() noexcept {
        std::uint64_t all = 0;
        rows_.each([&](auto& each) { all |= each.places(links_); });
        return all;
    }

    static std::uint64_t places_of_row(void* self, int place) {
        std::uint64_t found = 0;
        row_links const& links = static_cast<guard_state*>(self)->links_;
        static_cast<guard_state*>(self)->rows_.each([&](auto& each) {
            if ((each.places(links) & in_signal::bit_of(place)) != 0) found |= each.places(links);
        });
        return found;
    }

    // How many reactions of a row are deferred to this state.
    template <class State, class... R>
    static constexpr unsigned count_deferred(list<R...> const&) {
        return (0U + ... + (is_deferred<R>() && same<state_type<R>, State> ? 1U : 0U));
    }

    // Runs the deferred reactions of this state that belong to the delivery's row, from number `step` on. Watchdogs
    // share a place, so that several rows may have to run; the reactions are numbered through all of them.
    template <class State>
    static void run_deferred(void* self, delivery const& what, unsigned& step) {
        auto& state = *static_cast<guard_state*>(self);
        std::uint64_t const bit = in_signal::bit_of(in_signal::place_in_inbox(what.signal()));
        unsigned total = 0;
        state.rows_.each([&](auto& each) {
            if ((each.places(state.links_) & bit) != 0) total += count_deferred<State>(each.row.reactions);
        });
        unsigned before = 0;
        state.rows_.each([&](auto& each) {
            if ((each.places(state.links_) & bit) == 0) return;
            state.template run_row<State>(each.row, what, step, before, total);
            before += count_deferred<State>(each.row.reactions);
        });
        step = posix::all_steps;
    }

    // Where a reaction, or another thread meanwhile, has begun to destroy the guard, no further one starts.
    template <class State, class Row>
    void run_row(Row& of, delivery what, unsigned& step, unsigned before, unsigned total) {
        unsigned const behind = before + count_deferred<State>(of.reactions);
        if (before == behind || step >= behind) return;
        if constexpr (Row::trigger_type::hang) {
            if (step <= before) {  // else its turn was interrupted by an exception
                what = what.merged(of.trigger.take_hangs());
                if (what.merged() == 0) return;
            }
        }
        bool others_follow = false;
        unsigned number = before;
        of.reactions.each([&]<class R>(R& reaction) {
            if constexpr (is_deferred<R>()) others_follow = !same<state_type<R>, State>;
            if constexpr (is_deferred<R>() && same<state_type<R>, State>) {
                if (number++ < step || closing_.load() != 0) return;
                step = number == total ? posix::all_steps : number;
                reaction.run(what);
            }
        });
        if constexpr (row_words<Row>::ends && !Row::trigger_type::hang)
            if (!others_follow && closing_.load() == 0)
                of.reactions.each([&](auto& reaction) { finish_row(*in_, reaction, what); });
    }

    template <class R>
    static void finish_row(in_signal::table& in, R& reaction, delivery const& what) noexcept {
        if constexpr (R::where == stage::last && !requires { reaction.take_default; })
            finish_later(in, reaction.last_word(), what);
    }

    in_signal::atomic<std::uint32_t> references_{1};
    in_signal::atomic<std::uint32_t> closing_;
    states_type states_;
    static constexpr unsigned link_count = (0U + ... + Rows::trigger_type::count);
    // left as it is until the rows write it, which is all of it
    alignas(in_signal::row_link) unsigned char link_memory_[sizeof(in_signal::row_link) *
                                                            (link_count == 0 ? 1 : link_count)];
    row_list<states_type, 0, Rows...> rows_;
    [[no_unique_address]] chosen<any_reserved, posix::reserved_claim, no_state> reserved_;
};

template <class Rows>
struct state_of_rows;
template <class... Rows>
struct state_of_rows<list<Rows...>> {
    using type = guard_state<Rows...>;
};
template <class... Rows>
using state_for = typename state_of_rows<decltype(split_rows(detail::some<Rows>()...))>::type;

}  // namespace tocsin::detail
