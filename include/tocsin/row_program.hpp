// SPDX-License-Identifier: MIT
// From the words of a row to the program that its handler runs.
//
// Compile time, except for the objects that it makes: parts that point to the state of the guard.
#pragma once

#include <tocsin/in_signal/guarded.hpp>
#include <tocsin/in_signal/owner.hpp>
#include <tocsin/on.hpp>
#include <tocsin/posix/deferred.hpp>

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
    static constexpr bool skip = std::is_same_v<Next, no_state> || (std::is_same_v<Next, Known> || ...);
    using longer = std::conditional_t<skip, state_list<Known...>, state_list<Known..., Next>>;
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
using needed_state = std::conditional_t<Trigger::hang && R::where == stage::dispatcher, no_state, state_type<R>>;

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
    static constexpr bool contains = (std::is_same_v<word_of<R>, word_of<Wanted>> || ...);
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
    static type split(Row&& row) { return {std::move(row), {}}; }
};
template <class Row>
    requires requires { typename Row::rows_type; }
struct rows_of<Row> {
    using type = typename Row::rows_type;
    static type split(Row&& row) { return std::move(row.rows); }
};

template <class... Right>
list<Right...> join_rows(list<>&&, list<Right...>&& right) {
    return std::move(right);
}
template <class First, class... Rest, class... Right>
list<First, Rest..., Right...> join_rows(list<First, Rest...>&& left, list<Right...>&& right) {
    return {std::move(left.first), join_rows(std::move(left.rest), std::move(right))};
}
inline list<> split_rows() { return {}; }
template <class First, class... Rest>
auto split_rows(First&& first, Rest&&... rest) {
    return join_rows(rows_of<First>::split(std::move(first)), split_rows(std::move(rest)...));
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

// Lists of parts.

template <class First, class... Rest>
constexpr in_signal::parts<First, Rest...> prepend(First first, in_signal::parts<Rest...> rest) {
    return {first, rest};
}
template <class... Right>
constexpr auto join(in_signal::parts<>, in_signal::parts<Right...> right) {
    return right;
}
template <class First, class... Rest, class... Right>
constexpr auto join(in_signal::parts<First, Rest...> left, in_signal::parts<Right...> right) {
    return prepend(left.first, join(left.rest, right));
}

// `call(f)` under a watchdog: on the helper that runs the row. None starts once exit() has begun, or the guard's end.
template <class Call, class Watchdogs>
struct call_now {
    Call* reaction;
    Watchdogs* watchdogs;
    void operator()(in_signal::arrival& a) const {
        bool const exiting = __atomic_load_n(&a.in->exiting, __ATOMIC_SEQ_CST) != 0;
        if (!exiting && !watchdogs->closed()) reaction->run(delivery{0});
    }
};

template <class Trigger>
struct note_hang {
    Trigger* trigger;
    void operator()(in_signal::arrival&) const noexcept { trigger->note_hang(); }
};

// A row that has to be through with everything before its last word, or before the process goes down, cannot leave
// the report to a helper.
template <class Row>
inline constexpr bool at_once =
    Row::trigger_type::crash || Row::trigger_type::hang || row_words<Row>::ends;

template <bool AtOnce, class States, class R>
auto part_of(R& reaction, States& states) {
    if constexpr (requires { reaction.template part<AtOnce>(); })
        return reaction.template part<AtOnce>();
    else if constexpr (requires { reaction.part(states.of(reaction)); })
        return reaction.part(states.of(reaction));
    else
        return reaction.part();
}

template <bool AtOnce, bool Behind, class States>
auto handler_parts(list<>&, States&) {
    return in_signal::parts<>{};
}
template <bool AtOnce, bool Behind, class States, class First, class... Rest>
auto handler_parts(list<First, Rest...>& of, States& states) {
    if constexpr (First::where == stage::handler && is_behind_records<First> == Behind)
        return prepend(part_of<AtOnce>(of.first, states), handler_parts<AtOnce, Behind>(of.rest, states));
    else
        return handler_parts<AtOnce, Behind>(of.rest, states);
}

// One post for each inbox, however many reactions wait for it.
template <bool Hang, class... Posted, class States>
auto deferred_parts(list<>&, States&) {
    return in_signal::parts<>{};
}
template <bool Hang, class... Posted, class States, class First, class... Rest>
auto deferred_parts(list<First, Rest...>& of, States& states) {
    using state = state_type<First>;
    constexpr bool called_now = Hang && First::where == stage::dispatcher;
    if constexpr (is_deferred<First>() && !called_now && !(std::is_same_v<state, Posted> || ...))
        return prepend(in_signal::post_to{&states.of(of.first).box()},
                       deferred_parts<Hang, Posted..., state>(of.rest, states));
    else
        return deferred_parts<Hang, Posted...>(of.rest, states);
}

// What a watchdog does in place of posting to the dispatcher. It comes after the posts: what is called may destroy
// the guard that they point into.
template <bool Hang, class States>
auto called_parts(list<>&, States&) {
    return in_signal::parts<>{};
}
template <bool Hang, class States, class First, class... Rest>
auto called_parts(list<First, Rest...>& of, States& states) {
    if constexpr (Hang && First::where == stage::dispatcher) {
        auto& watchdogs = states.template by_feature<feature::watchdog>();
        return prepend(call_now<First, std::remove_reference_t<decltype(watchdogs)>>{&of.first, &watchdogs},
                       called_parts<Hang>(of.rest, states));
    } else {
        return called_parts<Hang>(of.rest, states);
    }
}

template <class Row>
auto hang_parts(Row& of) {
    if constexpr (Row::trigger_type::hang)
        return in_signal::parts<note_hang<typename Row::trigger_type>>{{&of.trigger}, {}};
    else
        return in_signal::parts<>{};
}

// The last word of the handler. After deferred reactions, an end of the process comes after those.
template <class Trigger, bool Deferred>
auto last_part(list<>&) {
    if constexpr (Trigger::crash)
        return in_signal::finish_by_reraise{};
    else
        return in_signal::finish{};
}
template <class Trigger, bool Deferred, class First, class... Rest>
auto last_part(list<First, Rest...>& of) {
    if constexpr (First::where != stage::last)
        return last_part<Trigger, Deferred>(of.rest);
    else if constexpr (Deferred && !Trigger::hang && !requires { of.first.take_default; })
        return in_signal::finish{};
    else
        return of.first.last_word();
}

// Whether an instruction may cause one of the signals: then a thread may be in a guarded call.
template <class Trigger>
constexpr bool has_a_fault(Trigger const*) {
    return false;
}
template <auto... Signals>
constexpr bool has_a_fault(on_signals<Signals...> const*) {
    return (names_a_fault<Signals>() || ...);
}
template <auto... Signals>
constexpr bool has_a_fault(on_faults<Signals...> const*) {
    return (names_a_fault<Signals>() || ...);
}

// The program of a row that says `once`.
template <class Program>
struct only_once {
    Program program;
    std::uint32_t spent = 0;

    in_signal::verdict operator()(in_signal::arrival& a) noexcept {
        bool const first = __atomic_exchange_n(&spent, 1U, __ATOMIC_SEQ_CST) == 0;
        return first ? program(a) : in_signal::verdict::chain_or_default;
    }
};

// The program of a row with a safe point: afterwards the owner is interrupted, if there is one and this is another
// thread. If that fails (the thread has ended, the kernel's queue is full), the owner sees later what is pending.
template <class Program>
struct then_interrupt_owner {
    Program program;
    in_signal::owner_of_row const* owner;

    in_signal::verdict operator()(in_signal::arrival& a) noexcept {
        // before the program, which may end the guard
        std::int32_t const thread = owner->thread_to_interrupt(a);
        in_signal::verdict const end = program(a);
        if (thread != 0) in_signal::interrupt(thread, a);
        return end;
    }
};

// An interruption of an owner is for no row: it has done its work by coming.
template <class Program>
struct unless_interruption {
    Program program;

    in_signal::verdict operator()(in_signal::arrival& a) noexcept {
        if (in_signal::is_interruption(a)) return in_signal::verdict::done;
        return program(a);
    }
};

template <class Row, class Program>
auto guard_program(Program of) {
    using trigger = typename Row::trigger_type;
    if constexpr (has_a_fault(static_cast<trigger const*>(nullptr)))
        return in_signal::unless_guarded<Program>{of};
    else if constexpr (trigger::hang)
        return of;
    else
        return unless_interruption<Program>{of};
}

template <class Row, class Program, class States>
auto owned_program(Program of, States& states) {
    if constexpr (row_words<Row>::at_safe_point && !Row::trigger_type::hang)
        return then_interrupt_owner<Program>{of, &states.template by_feature<feature::safe_point>().owner};
    else
        return of;
}

template <class Row, class States>
auto build_program(Row& of, States& states) {
    using trigger = typename Row::trigger_type;
    auto const posts = join(hang_parts(of), deferred_parts<trigger::hang>(of.reactions, states));
    auto const wakes = join(posts, handler_parts<at_once<Row>, true>(of.reactions, states));
    auto const deferred = join(wakes, called_parts<trigger::hang>(of.reactions, states));
    auto const all = join(handler_parts<at_once<Row>, false>(of.reactions, states), deferred);
    auto const last = last_part<trigger, row_words<Row>::deferred>(of.reactions);
    using program = in_signal::program<std::remove_const_t<decltype(all)>, std::remove_const_t<decltype(last)>>;
    if constexpr (Row::options.once)
        return guard_program<Row>(owned_program<Row>(only_once<program>{{all, last}}, states));
    else
        return guard_program<Row>(owned_program<Row>(program{all, last}, states));
}

// What a row does after its last deferred reaction, on the thread that ran it.
template <class Last>
void finish_later(in_signal::table& in, Last last, delivery const& what) noexcept {
    siginfo_t info{};
    info.si_signo = what.signal();
    info.si_code = what.code();
    info.si_pid = what.pid();
    info.si_uid = what.uid();
    in_signal::arrival a{what.signal(), &info, nullptr, &in};
    last(a);
    if (what.signal() != 0) posix::detail::open_here(what.signal());
}

}  // namespace tocsin::detail
