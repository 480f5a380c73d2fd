// SPDX-License-Identifier: MIT
// From the words of a row to the program that its handler runs.
//
// Compile time, except for the objects that it makes: parts that point to the state of the guard.
#pragma once

#include <tocsin/in_signal/owner.hpp>
#include <tocsin/in_signal/unless_guarded.hpp>
#include <tocsin/on.hpp>
#include <tocsin/posix/opening.hpp>
#include <tocsin/row_words.hpp>
#include <tocsin/traits.hpp>

namespace tocsin::detail {

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
        if (!exiting && !watchdogs->closed()) reaction->run(delivery{0, *a.info});
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

// What a part does about faults is left out where none can come.
template <bool Faults, class Part>
auto part_for(Part of) {
    if constexpr (!Faults && requires { of.without_faults(); })
        return of.without_faults();
    else
        return of;
}

template <bool AtOnce, bool Behind, bool Faults, class States>
auto handler_parts(list<>&, States&) {
    return in_signal::parts<>{};
}
template <bool AtOnce, bool Behind, bool Faults, class States, class First, class... Rest>
auto handler_parts(list<First, Rest...>& of, States& states) {
    if constexpr (First::where == stage::handler && is_behind_records<First> == Behind)
        return prepend(part_for<Faults>(part_of<AtOnce>(of.first, states)),
                       handler_parts<AtOnce, Behind, Faults>(of.rest, states));
    else
        return handler_parts<AtOnce, Behind, Faults>(of.rest, states);
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
    if constexpr (is_deferred<First>() && !called_now && !(same<state, Posted> || ...))
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
        return prepend(call_now<First, plain<decltype(watchdogs)>>{&of.first, &watchdogs},
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

// Whether one of the signals may be a real-time one. What is not among these two has its number at run time.
template <class Trigger>
inline constexpr bool has_any_realtime = !Trigger::hang;
template <auto... Signals>
inline constexpr bool has_any_realtime<on_signals<Signals...>> = (is_realtime<Signals> || ...);
template <auto... Signals>
inline constexpr bool has_any_realtime<on_faults<Signals...>> = false;

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

template <class Row, class Program>
auto guard_program(Program of) {
    using trigger = typename Row::trigger_type;
    if constexpr (has_a_fault(static_cast<trigger const*>(nullptr)))
        return in_signal::unless_guarded<Program>{of};
    else
        return of;
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
    constexpr bool faults = trigger::crash || trigger::hang || has_a_fault(static_cast<trigger const*>(nullptr));
    auto const posts = join(hang_parts(of), deferred_parts<trigger::hang>(of.reactions, states));
    auto const wakes = join(posts, handler_parts<at_once<Row>, true, faults>(of.reactions, states));
    auto const deferred = join(wakes, called_parts<trigger::hang>(of.reactions, states));
    auto const all = join(handler_parts<at_once<Row>, false, faults>(of.reactions, states), deferred);
    auto const last = last_part<trigger, row_words<Row>::deferred>(of.reactions);
    using program = in_signal::program<plain<decltype(all)>, plain<decltype(last)>>;
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
