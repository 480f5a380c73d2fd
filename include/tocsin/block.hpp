// SPDX-License-Identifier: MIT
// `block<SIG…>`: signals wait while a scope runs; `unblock<SIG…>`: they come while it runs.
//
// Runs on any ordinary thread. Both change the calling thread's mask; the destructor, which has to run on the
// same thread, puts the mask back that was there, and ends the process with a line on stderr if it runs on
// another. They nest. New threads inherit the mask.
//
//     { block<SIGUSR1, rt<3>> here; … }             the signals are constants
//     { block here{some_set}; … }                   a signal_set, known at run time
//     { block<SIGSEGV> here{even_faults}; … }       faults are blocked only if somebody says so
#pragma once

#include <tocsin/error.hpp>
#include <tocsin/on.hpp>
#include <tocsin/posix/duration_refusal.hpp>
#include <tocsin/posix/mask.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/signal_set.hpp>

namespace tocsin {

// The word for blocking fault signals: a fault while its signal is blocked ends the process without any
// handler being called, and SIGABRT stays pending until abort() takes away what was there.
struct even_faults_t {};
[[gnu::visibility("hidden")]] inline constexpr even_faults_t even_faults{};

namespace detail {

template <auto... Signals>
posix::signals_in in_native_set() noexcept {
    int const all[] = {static_cast<int>(Signals)...};
    posix::signals_in set;
    for (int const signal : all) set.add(signal);
    return set;
}

inline posix::signals_in in_native_set(signal_set of) noexcept {
    posix::signals_in set;
    for (int const signal : of) set.add(signal);
    return set;
}

// Why a set cannot be blocked or opened. Names the first member that is not in `may`.
inline failure mask_refusal(signal_set of, signal_set may, char const* word) noexcept {
    if (!of.valid()) return {EINVAL, word, of.invalid()};
    signal_set const more = of - may;
    return more.empty() ? failure{} : failure{EINVAL, word, *more.begin()};
}

// A mask for the scope of what holds it.
class scoped_mask {
  protected:
    scoped_mask(posix::signals_in const& set, int how) : mask_{set, how} {
        if (failure const refused = mask_.refused()) posix::fail(refused);
    }
    scoped_mask(signal_set set, signal_set may, int how) : mask_{made_of(set, may, how)} {
        if (failure const refused = mask_.refused()) posix::fail(refused);
    }

  private:
    static posix::mask made_of(signal_set set, signal_set may, int how) noexcept {
        failure const refused = mask_refusal(set, may, how == SIG_BLOCK ? "block" : "unblock");
        return refused ? posix::mask{refused} : posix::mask{in_native_set(set), how};
    }

    posix::mask mask_;
};

}  // namespace detail

// Adds signals to the calling thread's mask. What arrives meanwhile is pending and is delivered afterwards,
// standard signals once. Throws tocsin::error (EINVAL) for a real-time signal that this system does not have.
template <auto... Signals>
class [[nodiscard]] block : detail::scoped_mask {
    using checked = decltype(detail::check_signals<Signals...>());

  public:
    block() : scoped_mask{detail::in_native_set<Signals...>(), SIG_BLOCK} {
        constexpr bool no_fault = (!detail::names_a_fault<Signals>() && ...);
        static_assert(no_fault,
                      "tocsin: a fault whose signal is blocked ends the process without a report; "
                      "leave faults open");
    }
    explicit block(even_faults_t) : scoped_mask{detail::in_native_set<Signals...>(), SIG_BLOCK} {}
};

// The same of a set that is known at run time: block here{set}. Throws tocsin::error (EINVAL) that names the
// first member that is no signal, SIGKILL or SIGSTOP, which nobody can block, or a fault that nobody has
// asked for; of all signals, `blockable_signals` are the others. An empty set blocks nothing.
template <>
class [[nodiscard]] block<> : detail::scoped_mask {
  public:
    template <auto... None>
    block() : scoped_mask{signal_set{}, signal_set{}, SIG_BLOCK} {
        static_cast<void>(detail::check_signals<None...>());
    }
    explicit block(signal_set signals) : scoped_mask{signals, blockable_signals, SIG_BLOCK} {}
    block(signal_set signals, even_faults_t) : scoped_mask{signals, catchable_signals, SIG_BLOCK} {}
};

block(signal_set) -> block<>;
block(signal_set, even_faults_t) -> block<>;

// Takes signals out of the calling thread's mask. Those that are pending are delivered before the constructor
// returns. Throws tocsin::error (EINVAL) for a real-time signal that this system does not have.
template <auto... Signals>
class [[nodiscard]] unblock : detail::scoped_mask {
    using checked = decltype(detail::check_signals<Signals...>());

  public:
    unblock() : scoped_mask{detail::in_native_set<Signals...>(), SIG_UNBLOCK} {}
};

// The same of a set that is known at run time: unblock here{set}. Throws tocsin::error (EINVAL) that names
// the first member that is no signal.
template <>
class [[nodiscard]] unblock<> : detail::scoped_mask {
  public:
    template <auto... None>
    unblock() : scoped_mask{signal_set{}, signal_set{}, SIG_UNBLOCK} {
        static_cast<void>(detail::check_signals<None...>());
    }
    explicit unblock(signal_set signals) : scoped_mask{signals, ~signal_set{}, SIG_UNBLOCK} {}
};

unblock(signal_set) -> unblock<>;

}  // namespace tocsin
