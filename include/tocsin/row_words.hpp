// SPDX-License-Identifier: MIT
// What the words of a guard's rows say about the guard: which states it needs, which rows a watchdog stands for, which
// names there are.
//
// Compile time.
#pragma once

#include <tocsin/on.hpp>
#include <tocsin/traits.hpp>

namespace tocsin::detail {

// The state types of a guard's reactions, each once.

template <class R>
struct state_type_of {
    using type = no_state;
};
template <class R>
    requires requires { typename R::state; }
struct state_type_of<R> {
    using type = typename R::state;
};
template <class R>
using state_type = typename state_type_of<R>::type;

template <class... States>
struct state_list {
    static constexpr unsigned count = 0;
    template <feature>
    static constexpr bool has = false;
    template <class Visit>
    void each(Visit&&) {}
    no_state& of_type(no_state*) noexcept { return none_; }

  private:
    [[no_unique_address]] no_state none_;
};
template <class First, class... Rest>
struct state_list<First, Rest...> : state_list<Rest...> {
    static constexpr unsigned count = 1 + sizeof...(Rest);
    template <feature Wanted>
    static constexpr bool has = First::provides == Wanted || state_list<Rest...>::template has<Wanted>;

    First first;

    using state_list<Rest...>::of_type;
    First& of_type(First*) noexcept { return first; }

    // No member for a reaction whose state this guard does without.
    template <class R>
    auto of(R const&) noexcept -> decltype(of_type(static_cast<state_type<R>*>(nullptr))) {
        return of_type(static_cast<state_type<R>*>(nullptr));
    }
    template <feature Wanted>
    auto& by_feature() noexcept {
        if constexpr (First::provides == Wanted)
            return first;
        else
            return state_list<Rest...>::template by_feature<Wanted>();
    }
    template <class Visit>
    void each(Visit&& visit) {
        visit(first);
        state_list<Rest...>::each(visit);
    }
};

template <class List, class... States>
struct add_states {
    using type = List;
};
template <class... Known, class Next, class... Rest>
struct add_states<state_list<Known...>, Next, Rest...> {
    static constexpr bool skip = same<Next, no_state> || (same<Next, Known> || ...);
    using longer = chosen<skip, state_list<Known...>, state_list<Known..., Next>>;
    using type = typename add_states<longer, Rest...>::type;
};

// Variants of one word (dump_threads.to(fd)) name what they are variants of.
template <class R>
struct word_type {
    using type = R;
};
template <class R>
    requires requires { typename R::word; }
struct word_type<R> {
    using type = typename R::word;
};
template <class R>
using word_of = typename word_type<R>::type;

// A watchdog's `call(f)` runs on the helper and leaves the dispatcher alone.
template <class Trigger, class R>
using needed_state = chosen<Trigger::hang && R::where == stage::dispatcher, no_state, state_type<R>>;

template <class Row>
struct row_words;
template <class Trigger, row_options Options, class... R>
struct row_words<row<Trigger, Options, R...>> {
    static constexpr bool respects_ignore = Options.unless_ignored || (requires { R::unless_ignored; } || ...);
    static constexpr bool deferred = (is_deferred<R>() || ...);
    static constexpr bool at_safe_point = ((R::where == stage::safe_point) || ...);
    static constexpr bool tells_orphans = (requires { &R::orphan; } || ...);
    static constexpr bool ends = ((R::where == stage::last) || ...);
    static constexpr bool alone = ((R::where == stage::alone) || ...);
    static constexpr bool captures = (requires { R::captures; } || ...);
    template <class Wanted>
    static constexpr bool contains = (same<word_of<R>, word_of<Wanted>> || ...);
    template <class List>
    using add_to = typename add_states<List, typename Trigger::state, needed_state<Trigger, R>...>::type;
};

template <class List, class... Rows>
struct collect_states {
    using type = List;
};
template <class List, class First, class... Rest>
struct collect_states<List, First, Rest...> {
    using type = typename collect_states<typename row_words<First>::template add_to<List>, Rest...>::type;
};
template <class... Rows>
using unique_states = typename collect_states<state_list<>, Rows...>::type;

// A row may stand for several: a watchdog does, for each of its stages.
template <class Row>
struct rows_of {
    using type = list<Row>;
    static type split(Row&& row) { return {detail::moved(row), {}}; }
};
template <class Row>
    requires requires { typename Row::rows_type; }
struct rows_of<Row> {
    using type = typename Row::rows_type;
    static type split(Row&& row) { return detail::moved(row.rows); }
};

template <class... Right>
list<Right...> join_rows(list<>&&, list<Right...>&& right) {
    return detail::moved(right);
}
template <class First, class... Rest, class... Right>
list<First, Rest..., Right...> join_rows(list<First, Rest...>&& left, list<Right...>&& right) {
    return {detail::moved(left.first), join_rows(detail::moved(left.rest), detail::moved(right))};
}
inline list<> split_rows() { return {}; }
template <class First, class... Rest>
auto split_rows(First&& first, Rest&&... rest) {
    return join_rows(rows_of<First>::split(detail::moved(first)), split_rows(detail::moved(rest)...));
}

// Names of watchdogs. Each has a word in the guard that feeds it: 0 is that of all that have no name.

// 0 for a name that no trigger has.
template <auto Name, class... Triggers>
constexpr unsigned feed_place() {
    unsigned place = 0;
    unsigned named = 0;
    auto const look_at = [&]<class Trigger>(Trigger const*) {
        if constexpr (requires { Trigger::name; })
            if (!Trigger::name.empty && ++named != 0 && place == 0 && Trigger::name == Name) place = named;
    };
    (look_at(static_cast<Triggers const*>(nullptr)), ...);
    return place;
}

template <class... Triggers>
constexpr unsigned count_names() {
    auto const named = []<class Trigger>(Trigger const*) {
        if constexpr (requires { Trigger::name; })
            return Trigger::name.empty ? 0U : 1U;
        else
            return 0U;
    };
    return (0U + ... + named(static_cast<Triggers const*>(nullptr)));
}

}  // namespace tocsin::detail
