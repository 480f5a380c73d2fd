// SPDX-License-Identifier: MIT
// Triggers and rows: on these signals, do this.
//
// Runs on any ordinary thread; nothing happens before a guard takes the rows. What contradicts itself, or what the
// system refuses every time, does not compile; the first line of the error says what to write instead.
#pragma once

#include <tocsin/in_signal/program.hpp>
#include <tocsin/signal.hpp>
#include <tocsin/traits.hpp>

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
    detail::accept<stage>(R::where);
    detail::accept<bool>(R::on_fault);  // may follow on_crash, where returning means faulting again
    detail::accept<bool>(R::on_hang);   // may follow watchdog, where there is no signal
};

namespace detail {

struct no_state {};  // of a trigger or reaction that needs none in the guard

// What becomes of a row, or of a reaction in it, that has been refused: its sentence has been printed, and nothing
// that follows from it shall hide it.
struct refused {
    constexpr refused interrupting() const noexcept { return {}; }
    constexpr refused once() const noexcept { return {}; }
    constexpr refused unless_ignored() const noexcept { return {}; }
    constexpr refused without_stops() const noexcept { return {}; }
    constexpr refused without_zombies() const noexcept { return {}; }
    template <class D>
    constexpr refused then(D const&) const noexcept {
        return {};
    }
    template <class D>
    constexpr refused every(D const&) const noexcept {
        return {};
    }
    template <class... R>
    constexpr refused operator()(R const&...) const noexcept {
        return {};
    }
};

template <class T>
inline constexpr bool is_refused = __is_base_of(refused, T);

}  // namespace detail

// The name of a watchdog, as a template argument: watchdog<"render">(5s).
template <std::size_t Size>
struct watch_name {
    char text[Size]{};

    constexpr watch_name(char const (&from)[Size]) noexcept {
        for (std::size_t i = 0; i < Size; ++i) text[i] = from[i];
    }
    static constexpr bool empty = Size == 1;

    template <std::size_t Other>
    constexpr bool operator==(watch_name<Other> const& other) const noexcept {
        if (Size != Other) return false;
        for (std::size_t i = 0; i < Size; ++i)
            if (text[i] != other.text[i]) return false;
        return true;
    }
};

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
    return {detail::moved(first), make_list(detail::moved(rest)...)};
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

// What the words behind a row have changed.
struct row_options {
    bool restart;                  // interrupted system calls go on
    bool once = false;
    bool unless_ignored = false;
    bool without_stops = false;    // SA_NOCLDSTOP
    bool without_zombies = false;  // SA_NOCLDWAIT

    constexpr row_options(bool restarts = true) noexcept : restart{restarts} {}

    constexpr row_options with(bool row_options::*word) const noexcept {
        row_options changed = *this;
        changed.*word = true;
        return changed;
    }
    constexpr row_options interrupting() const noexcept {
        row_options changed = *this;
        changed.restart = false;
        return changed;
    }
};

namespace detail {

template <auto Signal>
constexpr bool is_of_child() {
    if constexpr (detail::same<detail::plain<decltype(Signal)>, realtime>)
        return false;
    else
        return Signal == SIGCHLD;
}

template <class Trigger>
constexpr bool is_on_child(Trigger const*) {
    return false;
}
template <auto... Signals>
constexpr bool is_on_child(on_signals<Signals...> const*) {
    return (is_of_child<Signals>() || ...);
}

}  // namespace detail

// One row of a guard. Made by `on`, `on_crash` and `watchdog`.
template <class Trigger, row_options Options, class... Reactions>
class row {
    template <row_options Changed>
    using changed = row<Trigger, Changed, Reactions...>;
    static constexpr bool alone = ((Reactions::where == stage::alone) || ...);

  public:
    using trigger_type = Trigger;
    static constexpr row_options options = Options;
    static constexpr bool restarts = Options.restart;

    constexpr row(Trigger on, list<Reactions...> these) : trigger{detail::moved(on)}, reactions{detail::moved(these)} {}

    // System calls that the signal interrupts fail with EINTR instead of being restarted. (Some always do, such as
    // poll and nanosleep: signal(7), "Interruption of system calls".)
    constexpr changed<Options.interrupting()> interrupting() && {
        static_assert(restarts, "tocsin: this row interrupts system calls already; say interrupting() once");
        static_assert(!Trigger::hang, "tocsin: a watchdog interrupts no system call; interrupting() is for on<SIG...>");
        return {detail::moved(trigger), detail::moved(reactions)};
    }

    // The first of the row's signals finds the row; from then on, all of them meet what was there before, the default
    // too. (sigaction(2)'s SA_RESETHAND knows the default only.)
    constexpr changed<Options.with(&row_options::once)> once() && {
        static_assert(!Options.once, "tocsin: this row is for one signal already; say once() once");
        constexpr bool fits = !Trigger::hang && !Trigger::crash && !alone;
        static_assert(fits, "tocsin: once() is for on<SIG...>(reaction); a crash comes once anyway, ignore has no end, "
                            "and watchdogs have every(d)");
        return {detail::moved(trigger), detail::moved(reactions)};
    }

    // A signal that is ignored when the guard is built, by no guard, stays so: nohup(1), and shells for commands in the
    // background, say that way that it is none of the program's business (POSIX, Shell Command Language, 2.11).
    constexpr changed<Options.with(&row_options::unless_ignored)> unless_ignored() && {
        static_assert(!Options.unless_ignored, "tocsin: this row leaves ignored signals alone already; say "
                                               "unless_ignored() once");
        constexpr bool fits = !Trigger::hang && !Trigger::crash;
        static_assert(fits, "tocsin: unless_ignored() is for on<SIG...>; a fault cannot be ignored");
        return {detail::moved(trigger), detail::moved(reactions)};
    }

    // No SIGCHLD for children that stop or go on, only for those that end (SA_NOCLDSTOP). Of several rows on SIGCHLD
    // the newest decides.
    constexpr changed<Options.with(&row_options::without_stops)> without_stops() && {
        constexpr bool fits = detail::is_on_child(static_cast<Trigger const*>(nullptr)) && !Options.without_stops;
        static_assert(fits, "tocsin: without_stops() is for on<SIGCHLD>(...), once");
        return {detail::moved(trigger), detail::moved(reactions)};
    }

    // Children leave nothing to be waited for (SA_NOCLDWAIT). It is for the whole process: whoever waits for a child,
    // as system(3) does, waits until the last one has ended and gets ECHILD.
    constexpr changed<Options.with(&row_options::without_zombies)> without_zombies() && {
        constexpr bool fits = detail::is_on_child(static_cast<Trigger const*>(nullptr)) && !Options.without_zombies;
        static_assert(fits, "tocsin: without_zombies() is for on<SIGCHLD>(...), once");
        return {detail::moved(trigger), detail::moved(reactions)};
    }

    [[no_unique_address]] Trigger trigger;
    [[no_unique_address]] list<Reactions...> reactions;
};

namespace detail {

template <class T>
inline constexpr bool is_row = false;
template <class Trigger, row_options Options, class... Reactions>
inline constexpr bool is_row<row<Trigger, Options, Reactions...>> = true;

template <auto Signal>
inline constexpr bool is_realtime = detail::same<detail::plain<decltype(Signal)>, realtime>;

template <auto Signal>
constexpr bool names_a_signal() {
    if constexpr (is_realtime<Signal>)
        return true;
    else
        return Signal >= 1 && Signal <= standard_signals;
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

// A reaction of the handler that wakes somebody who looks for what the row has recorded: it comes behind the posts, or
// he would find nothing and sleep again.
template <class R>
inline constexpr bool is_behind_records = requires { R::behind_records; };

// Checks print their sentence themselves and answer by the type of their result: a compiler that has refused one does
// not evaluate it, and would say so as well.

// What holds for the words of every row.
template <class... R>
constexpr auto check_words() {
    constexpr bool some = sizeof...(R) != 0;
    static_assert(some, "tocsin: a row without a reaction does nothing; to ignore a signal, say ignore");
    constexpr bool known = ((reaction<R> || is_refused<R>)&&...);
    static_assert(known, "tocsin: this is not a reaction; wrap a callable in call(f), defer(f) or in_handler(f)");
    if constexpr (some && known && !(is_refused<R> || ...)) {
        constexpr bool alone = sizeof...(R) == 1 || ((R::where != stage::alone) && ...);
        static_assert(alone, "tocsin: ignore contradicts every other reaction of its row; take one of them out");
        constexpr bool one_end = (0 + ... + (R::where == stage::last)) <= 1;
        static_assert(one_end, "tocsin: a row has one last word; keep one of chain, default_disposition and "
                               "exit_with");
        return detail::truth<alone && one_end>{};
    } else {
        return detail::truth<false>{};
    }
}

// What holds wherever signals are named.
template <auto... Signals>
constexpr auto check_signals() {
    constexpr bool some = sizeof...(Signals) != 0;
    static_assert(some, "tocsin: no signal is named here; name one or more between < and >");
    constexpr bool known = (names_a_signal<Signals>() && ...);
    static_assert(known, "tocsin: this number is no signal; standard signals are 1 to 31, real-time ones "
                         "are written rt<N>");
    constexpr bool ours = (!cannot_be_caught<Signals>() && ...);
    static_assert(ours, "tocsin: SIGKILL and SIGSTOP cannot be caught; take them out");
    constexpr bool once = ((times_named<Signals, Signals...> == 1) && ...);
    static_assert(once, "tocsin: a signal is named twice here; name it once");
    return detail::truth<some && known && ours && once>{};
}

// What may follow on<…> a fault signal.
template <bool Fault, class... R>
constexpr auto check_fault_words() {
    constexpr bool now = !Fault || (!is_deferred<R>() && ...);
    static_assert(now, "tocsin: a fault signal cannot be deferred, returning from its handler faults again; "
                       "use on_crash");
    constexpr bool ends = !now || !Fault || ((R::on_fault || R::where == stage::last) && ...);
    static_assert(ends, "tocsin: this reaction returns to the instruction that faults; use "
                        "on_crash(dump_threads)");
    return detail::truth<now && ends>{};
}

template <class... R>
constexpr auto check_crash_words() {
    constexpr bool fit = (R::on_fault && ...);
    static_assert(fit, "tocsin: on_crash takes dump_threads, in_handler, chain and exit_with; the process "
                       "is going down");
    return detail::truth<fit>{};
}

template <auto... Signals>
constexpr auto check_faults() {
    using signals = decltype(check_signals<Signals...>());
    constexpr bool faults = !signals::value || (names_a_fault<Signals>() && ...);
    static_assert(faults, "tocsin: on_crash is for SEGV BUS FPE ILL TRAP SYS ABRT; write on<SIG...> for "
                          "other signals");
    return detail::truth<signals::value && faults>{};
}

}  // namespace detail

// on<SIGINT, SIGTERM>(request_stop): on any of these signals, these reactions.
template <auto... Signals, class... R>
constexpr auto on(R... reactions) {
    using signals = decltype(detail::check_signals<Signals...>());
    using words = decltype(detail::check_words<R...>());
    if constexpr (signals::value && words::value) {
        constexpr bool fault = (detail::names_a_fault<Signals>() || ...);
        if constexpr (decltype(detail::check_fault_words<fault, R...>())::value)
            return row<on_signals<Signals...>, row_options{}, R...>{{}, make_list(detail::moved(reactions)...)};
        else
            return detail::refused{};
    } else {
        return detail::refused{};
    }
}

// on_crash(dump_threads): on every fault, or on_crash<SIGSEGV>(…): on these; afterwards the previous disposition
// takes over as if nothing had been there, unless the row ends in `chain` or `exit_with`.
template <auto... Signals, class... R>
constexpr auto on_crash(R... reactions) {
    if constexpr (sizeof...(Signals) == 0) {
        return on_crash<SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT>(detail::moved(reactions)...);
    } else {
        using signals = decltype(detail::check_faults<Signals...>());
        using words = decltype(detail::check_words<R...>());
        if constexpr (signals::value && words::value) {
            if constexpr (decltype(detail::check_crash_words<R...>())::value)
                return row<on_faults<Signals...>, row_options{}, R...>{{}, make_list(detail::moved(reactions)...)};
            else
                return detail::refused{};
        } else {
            return detail::refused{};
        }
    }
}

}  // namespace tocsin
