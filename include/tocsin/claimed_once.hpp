// SPDX-License-Identifier: MIT
// The refusal of two rows that claim one signal, and of two watchdogs of one name.
//
// One specialisation a signal, written out: the compiler prints the sentence of the one that failed, and nothing
// about how it was made.
#pragma once

#include <tocsin/on.hpp>

namespace tocsin::detail {

template <auto Signal, bool Once>
struct claimed_once {
    static_assert(Once, "tocsin: a real-time signal is claimed by two rows; put both reactions into one row");
};
template <bool Once>
struct claimed_once<SIGHUP, Once> {
    static_assert(Once, "tocsin: SIGHUP is claimed by two rows; write on<SIGHUP>(first, second)");
};
template <bool Once>
struct claimed_once<SIGINT, Once> {
    static_assert(Once, "tocsin: SIGINT is claimed by two rows; write on<SIGINT>(first, second)");
};
template <bool Once>
struct claimed_once<SIGQUIT, Once> {
    static_assert(Once, "tocsin: SIGQUIT is claimed by two rows; write on<SIGQUIT>(first, second)");
};
template <bool Once>
struct claimed_once<SIGILL, Once> {
    static_assert(Once, "tocsin: SIGILL is claimed by two rows; write on<SIGILL>(first, second)");
};
template <bool Once>
struct claimed_once<SIGTRAP, Once> {
    static_assert(Once, "tocsin: SIGTRAP is claimed by two rows; write on<SIGTRAP>(first, second)");
};
template <bool Once>
struct claimed_once<SIGABRT, Once> {
    static_assert(Once, "tocsin: SIGABRT is claimed by two rows; write on<SIGABRT>(first, second)");
};
template <bool Once>
struct claimed_once<SIGBUS, Once> {
    static_assert(Once, "tocsin: SIGBUS is claimed by two rows; write on<SIGBUS>(first, second)");
};
template <bool Once>
struct claimed_once<SIGFPE, Once> {
    static_assert(Once, "tocsin: SIGFPE is claimed by two rows; write on<SIGFPE>(first, second)");
};
template <bool Once>
struct claimed_once<SIGUSR1, Once> {
    static_assert(Once, "tocsin: SIGUSR1 is claimed by two rows; write on<SIGUSR1>(first, second)");
};
template <bool Once>
struct claimed_once<SIGSEGV, Once> {
    static_assert(Once, "tocsin: SIGSEGV is claimed by two rows; write on<SIGSEGV>(first, second)");
};
template <bool Once>
struct claimed_once<SIGUSR2, Once> {
    static_assert(Once, "tocsin: SIGUSR2 is claimed by two rows; write on<SIGUSR2>(first, second)");
};
template <bool Once>
struct claimed_once<SIGPIPE, Once> {
    static_assert(Once, "tocsin: SIGPIPE is claimed by two rows; write on<SIGPIPE>(first, second)");
};
template <bool Once>
struct claimed_once<SIGALRM, Once> {
    static_assert(Once, "tocsin: SIGALRM is claimed by two rows; write on<SIGALRM>(first, second)");
};
template <bool Once>
struct claimed_once<SIGTERM, Once> {
    static_assert(Once, "tocsin: SIGTERM is claimed by two rows; write on<SIGTERM>(first, second)");
};
template <bool Once>
struct claimed_once<SIGSTKFLT, Once> {
    static_assert(Once, "tocsin: SIGSTKFLT is claimed by two rows; write on<SIGSTKFLT>(first, second)");
};
template <bool Once>
struct claimed_once<SIGCHLD, Once> {
    static_assert(Once, "tocsin: SIGCHLD is claimed by two rows; write on<SIGCHLD>(first, second)");
};
template <bool Once>
struct claimed_once<SIGCONT, Once> {
    static_assert(Once, "tocsin: SIGCONT is claimed by two rows; write on<SIGCONT>(first, second)");
};
template <bool Once>
struct claimed_once<SIGTSTP, Once> {
    static_assert(Once, "tocsin: SIGTSTP is claimed by two rows; write on<SIGTSTP>(first, second)");
};
template <bool Once>
struct claimed_once<SIGTTIN, Once> {
    static_assert(Once, "tocsin: SIGTTIN is claimed by two rows; write on<SIGTTIN>(first, second)");
};
template <bool Once>
struct claimed_once<SIGTTOU, Once> {
    static_assert(Once, "tocsin: SIGTTOU is claimed by two rows; write on<SIGTTOU>(first, second)");
};
template <bool Once>
struct claimed_once<SIGURG, Once> {
    static_assert(Once, "tocsin: SIGURG is claimed by two rows; write on<SIGURG>(first, second)");
};
template <bool Once>
struct claimed_once<SIGXCPU, Once> {
    static_assert(Once, "tocsin: SIGXCPU is claimed by two rows; write on<SIGXCPU>(first, second)");
};
template <bool Once>
struct claimed_once<SIGXFSZ, Once> {
    static_assert(Once, "tocsin: SIGXFSZ is claimed by two rows; write on<SIGXFSZ>(first, second)");
};
template <bool Once>
struct claimed_once<SIGVTALRM, Once> {
    static_assert(Once, "tocsin: SIGVTALRM is claimed by two rows; write on<SIGVTALRM>(first, second)");
};
template <bool Once>
struct claimed_once<SIGPROF, Once> {
    static_assert(Once, "tocsin: SIGPROF is claimed by two rows; write on<SIGPROF>(first, second)");
};
template <bool Once>
struct claimed_once<SIGWINCH, Once> {
    static_assert(Once, "tocsin: SIGWINCH is claimed by two rows; write on<SIGWINCH>(first, second)");
};
template <bool Once>
struct claimed_once<SIGIO, Once> {
    static_assert(Once, "tocsin: SIGIO is claimed by two rows; write on<SIGIO>(first, second)");
};
template <bool Once>
struct claimed_once<SIGPWR, Once> {
    static_assert(Once, "tocsin: SIGPWR is claimed by two rows; write on<SIGPWR>(first, second)");
};
template <bool Once>
struct claimed_once<SIGSYS, Once> {
    static_assert(Once, "tocsin: SIGSYS is claimed by two rows; write on<SIGSYS>(first, second)");
};

// How many signals of a row are `Signal`.
template <auto Signal, class Trigger>
inline constexpr unsigned claims_of = 0;
template <auto Signal, auto... Signals>
inline constexpr unsigned claims_of<Signal, on_signals<Signals...>> = times_named<Signal, Signals...>;
template <auto Signal, auto... Signals>
inline constexpr unsigned claims_of<Signal, on_faults<Signals...>> = times_named<Signal, Signals...>;

template <auto Signal, class... Triggers>
inline constexpr unsigned total_claims = (0U + ... + claims_of<Signal, Triggers>);

template <class... Triggers, auto... Signals>
constexpr void check_claims_of(on_signals<Signals...> const*) {
    (static_cast<void>(claimed_once<Signals, total_claims<Signals, Triggers...> <= 1>{}), ...);
}
template <class... Triggers>
constexpr void check_claims_of(void const*) {}

// Nothing but refusals; never called.
template <class... Rows>
constexpr auto check_claims() {
    (check_claims_of<typename Rows::trigger_type...>(static_cast<typename Rows::trigger_type const*>(nullptr)), ...);
}

// Watchdogs of one name.
template <auto Name, class... Rows>
constexpr unsigned times_called() {
    auto const is_called = []<class Row>(Row const*) {
        if constexpr (requires { Row::name; })
            return Row::name == Name ? 1U : 0U;
        else
            return 0U;
    };
    return (0U + ... + is_called(static_cast<Rows const*>(nullptr)));
}

// Nothing but a refusal; never called.
template <class... Rows>
constexpr auto check_names() {
    auto const once = []<class Row>(Row const*) {
        if constexpr (requires { Row::name; })
            return Row::name.empty || times_called<Row::name, Rows...>() == 1;
        else
            return true;
    };
    constexpr bool all_once = (once(static_cast<Rows const*>(nullptr)) && ...);
    static_assert(all_once, "tocsin: two watchdogs of this guard have one name; give each a name of its own");
}

}  // namespace tocsin::detail
