// SPDX-License-Identifier: MIT
// Triggers and rows: on these signals, do this.
//
// Runs on any ordinary thread; nothing happens before a guard takes the rows. What contradicts itself, or what the
// system refuses every time, does not compile; the first line of the error says what to write instead.
#pragma once

#include <concepts>
#include <type_traits>
#include <utility>

#include <tocsin/in_signal/program.hpp>
#include <tocsin/signal.hpp>

namespace tocsin {

// Where a reaction has its place in a row.
enum class stage : unsigned char {
    handler,     // in the handler, in the order of the row
    dispatcher,  // later, on the dispatcher thread
    safe_point,  // later, where the owner calls check()
    last,        // ends the row: what becomes of the signal
    alone,       // is the whole row
};

// What a guard can be asked for because a row provides it. A reaction that needs state in the guard names a `state`
// type, of which a guard has one; the state says which feature it is.
enum class feature : unsigned char { none, wake, stop, call, safe_point, watchdog };

// What a reaction must say of itself.
template <class R>
concept reaction = requires {
    { R::where } -> std::convertible_to<stage>;
    { R::on_fault } -> std::convertible_to<bool>;  // may follow on_crash, where returning means faulting again
    { R::on_hang } -> std::convertible_to<bool>;   // may follow watchdog, where there is no signal
};

namespace detail {
struct no_state {};  // of a trigger or reaction that needs none in the guard
}  // namespace detail

// A list of values of different types; <tuple> costs more to include than all of this.
template <class... Ts>
struct list {
    template <class Visit>
    void each(Visit&&) {}
};
template <class First, class... Rest>
struct list<First, Rest...> {
    [[no_unique_address]] First first;
    [[no_unique_address]] list<Rest...> rest;

    template <class Visit>
    void each(Visit&& visit) {
        visit(first);
        rest.each(visit);
    }
};
constexpr list<> make_list() { return {}; }
template <class First, class... Rest>
constexpr list<First, Rest...> make_list(First first, Rest... rest) {
    return {std::move(first), make_list(std::move(rest)...)};
}

// On any of these signals. A signal is an int or a `realtime`.
template <auto... Signals>
struct on_signals {
    using state = detail::no_state;
    static constexpr bool crash = false;
    static constexpr bool hang = false;
    static constexpr unsigned count = sizeof...(Signals);
    // Numbers are resolved here: SIGRTMIN is not a constant.
    static void numbers(int (&out)[count]) noexcept {
        int const all[] = {static_cast<int>(Signals)...};
        for (unsigned i = 0; i < count; ++i) out[i] = all[i];
    }
};

// On a fault, with the process going down afterwards as it would have.
template <auto... Signals>
struct on_faults : on_signals<Signals...> {
    static constexpr bool crash = true;
};

// One row of a guard. Made by `on`, `on_crash` and `watchdog`.
template <class Trigger, bool Restart, class... Reactions>
class row {
  public:
    using trigger_type = Trigger;
    static constexpr bool restarts = Restart;

    constexpr row(Trigger on, list<Reactions...> these) : trigger{std::move(on)}, reactions{std::move(these)} {}

    // System calls that the signal interrupts fail with EINTR instead of being restarted. (Some always do, such as
    // poll and nanosleep: signal(7), "Interruption of system calls".)
    constexpr row<Trigger, false, Reactions...> interrupting() && {
        static_assert(Restart, "tocsin: this row interrupts system calls already; say interrupting() once");
        static_assert(!Trigger::hang, "tocsin: a watchdog interrupts no system call; interrupting() is for on<SIG...>");
        return {std::move(trigger), std::move(reactions)};
    }

    [[no_unique_address]] Trigger trigger;
    [[no_unique_address]] list<Reactions...> reactions;
};

namespace detail {

template <auto Signal>
inline constexpr bool is_realtime = std::is_same_v<std::remove_const_t<decltype(Signal)>, realtime>;

template <auto Signal>
constexpr bool names_a_signal() {
    if constexpr (is_realtime<Signal>)
        return true;
    else
        return Signal >= 1 && Signal <= last_signal;
}

template <auto Signal>
constexpr bool cannot_be_caught() {
    if constexpr (is_realtime<Signal>)
        return false;
    else
        return Signal == SIGKILL || Signal == SIGSTOP;
}

template <auto Signal>
constexpr bool names_a_fault() {
    if constexpr (is_realtime<Signal>)
        return false;
    else
        return is_fault(Signal);
}

template <auto Left, auto Right>
constexpr bool same_signal() {
    if constexpr (is_realtime<Left> != is_realtime<Right>)
        return false;
    else if constexpr (is_realtime<Left>)
        return Left.offset == Right.offset;
    else
        return Left == Right;
}

template <auto Signal, auto... Others>
inline constexpr unsigned times_named = (0U + ... + (same_signal<Signal, Others>() ? 1U : 0U));

template <class R>
constexpr bool is_deferred() {
    return R::where == stage::dispatcher || R::where == stage::safe_point;
}

template <class... R>
constexpr bool check_words() {
    static_assert(sizeof...(R) != 0, "tocsin: a row without a reaction does nothing; to ignore a signal, say ignore");
    static_assert((reaction<R> && ...),
                  "tocsin: this is not a reaction; wrap a callable in call(f), defer(f) or in_handler(f)");
    if constexpr (sizeof...(R) != 0 && (reaction<R> && ...)) {
        static_assert(sizeof...(R) == 1 || ((R::where != stage::alone) && ...),
                      "tocsin: ignore contradicts every other reaction of its row; take one of them out");
        static_assert((0 + ... + (R::where == stage::last)) <= 1,
                      "tocsin: a row has one last word; keep one of chain, default_disposition and exit_with");
        return true;
    }
    return false;
}

template <auto... Signals>
constexpr bool check_signals() {
    static_assert(sizeof...(Signals) != 0, "tocsin: on<> names no signal; write on<SIGTERM>(…)");
    static_assert((names_a_signal<Signals>() && ...),
                  "tocsin: this number is no signal; standard signals are 1 to 31, real-time ones are written rt<N>");
    static_assert((!cannot_be_caught<Signals>() && ...),
                  "tocsin: SIGKILL and SIGSTOP cannot be caught; take them out of the row");
    static_assert(((times_named<Signals, Signals...> == 1) && ...),
                  "tocsin: this row names a signal twice; name it once");
    return true;
}

}  // namespace detail

// on<SIGINT, SIGTERM>(request_stop): on any of these signals, these reactions.
template <auto... Signals, class... R>
constexpr auto on(R... reactions) {
    constexpr bool words = detail::check_words<R...>();
    constexpr bool signals = detail::check_signals<Signals...>();
    if constexpr (words && signals) {
        constexpr bool fault = (detail::names_a_fault<Signals>() || ...);
        static_assert(!fault || (!detail::is_deferred<R>() && ...),
                      "tocsin: a fault signal cannot be deferred, returning from its handler faults again; use on_crash");
        static_assert(!fault || ((R::on_fault || R::where == stage::last) && ...),
                      "tocsin: this reaction returns to the instruction that faults; use on_crash(dump_threads)");
    }
    return row<on_signals<Signals...>, true, R...>{{}, make_list(std::move(reactions)...)};
}

// on_crash(dump_threads): on every fault, or on_crash<SIGSEGV>(…): on these; afterwards the previous disposition
// takes over as if nothing had been there, unless the row ends in `chain` or `exit_with`.
template <auto... Signals, class... R>
constexpr auto on_crash(R... reactions) {
    constexpr bool words = detail::check_words<R...>();
    if constexpr (words)
        static_assert((R::on_fault && ...),
                      "tocsin: on_crash takes dump_threads, in_handler, chain and exit_with; the process is going down, "
                      "and nothing can be deferred");
    if constexpr (sizeof...(Signals) == 0) {
        return row<on_faults<SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT>, true, R...>{
            {}, make_list(std::move(reactions)...)};
    } else {
        static_assert(detail::check_signals<Signals...>());
        static_assert((detail::names_a_fault<Signals>() && ...),
                      "tocsin: on_crash is for fault signals: SIGSEGV SIGBUS SIGFPE SIGILL SIGTRAP SIGSYS SIGABRT; "
                      "write on<SIG…>(…) for the others");
        return row<on_faults<Signals...>, true, R...>{{}, make_list(std::move(reactions)...)};
    }
}

}  // namespace tocsin
