// SPDX-License-Identifier: MIT
// `wait(set)`, `wait_for(set, 2s)`, `wait_until(set, point)`: take a signal instead of having it delivered;
// `wait_handler(set)`: sleep until a handler has run.
//
// Runs on any ordinary thread; only the calling one sleeps, and all of them are cancellation points. A
// deadline is a point of time from the start: handlers of other signals run meanwhile and do not lengthen it.
//
//     block<SIGUSR1> here;     // in every thread, or one of them has it delivered
//     if (auto got = wait_for(signal_set{SIGUSR1}, 100ms)) got->signal(), got->pid(), got->value();
//
// The signals of the set are blocked while a wait lasts, so that each that comes is taken; what comes between
// two waits waits for the next one only if the program blocks it around both. A process-directed signal goes
// to any thread that does not block it, before or instead of the one that waits. Of several pending signals
// the lowest number is taken first; real-time ones in the order in which they were sent (signal(7)).
#pragma once

#include <tocsin/error.hpp>
#include <tocsin/posix/duration_refusal.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/posix/waiting.hpp>
#include <tocsin/signal_set.hpp>
#include <tocsin/traits.hpp>
#include <tocsin/waited_signal.hpp>

namespace tocsin {

namespace detail {

[[gnu::visibility("hidden")]] inline constexpr posix::duration_words wait_for_words{
    "wait_for(negative duration)", nullptr, "wait_for(not a number)", "wait_for(over 292 years)"};
[[gnu::visibility("hidden")]] inline constexpr posix::duration_words wait_until_words{
    "wait_until(negative)", nullptr, "wait_until(not a number)",
    "wait_until(over 292 years from the clock's beginning)"};
[[gnu::visibility("hidden")]] inline constexpr posix::duration_words wait_handler_words{
    "wait_handler_for(negative duration)", nullptr, "wait_handler_for(not a number)",
    "wait_handler_for(over 292 years)"};
[[gnu::visibility("hidden")]] inline constexpr posix::duration_words wait_handler_until_words{
    "wait_handler_until(negative)", nullptr, "wait_handler_until(not a number)",
    "wait_handler_until(over 292 years from the clock's beginning)"};

template <class Moment>
maybe_signal wait_before(failure& refused, signal_set set, Moment const& moment, char const* word,
                         char const* nothing) {
    refused = posix::waiting_refusal(set, word, nothing);
    if (refused) return {};
    posix::taken const got = posix::wait_for_one(set, moment);
    refused = got.refused;
    return got.some ? maybe_signal{got.info} : maybe_signal{};
}

inline maybe_signal wait_always(failure& refused, signal_set set) {
    return wait_before(refused, set, posix::no_end{}, "wait", "wait(empty set)");
}

template <class D>
maybe_signal wait_length(failure& refused, signal_set set, D const& length) {
    posix::after const moment{length, wait_for_words};
    refused = moment.refused();
    return refused ? maybe_signal{} : wait_before(refused, set, moment, "wait_for", "wait_for(empty set)");
}

template <class P>
maybe_signal wait_point(failure& refused, signal_set set, P const& until) {
    posix::at<P> const moment{until, wait_until_words};
    refused = moment.refused();
    return refused ? maybe_signal{}
                   : wait_before(refused, set, moment, "wait_until", "wait_until(empty set)");
}

template <class Moment>
bool handler_before(failure& refused, signal_set set, Moment const& moment) {
    posix::woken by{};
    refused = posix::sleep_open(set, nullptr, 0, moment, by);
    return !refused && by == posix::woken::by_handler;
}

template <class D>
bool handler_within(failure& refused, signal_set set, D const& length) {
    posix::after const moment{length, wait_handler_words};
    refused = moment.refused();
    return !refused && handler_before(refused, set, moment);
}

template <class P>
bool handler_until(failure& refused, signal_set set, P const& until) {
    posix::at<P> const moment{until, wait_handler_until_words};
    refused = moment.refused();
    return !refused && handler_before(refused, set, moment);
}

inline void fail_if(failure const& refused) {
    if (refused) posix::fail(refused);
}

}  // namespace detail

// Waits for one of the signals and takes it: no handler runs. Never returns early. Throws tocsin::error
// (EINVAL) for an empty set, or one with a number that is no signal, SIGKILL or SIGSTOP, naming the number.
// Without exceptions it prints the error and aborts: use the one with `ec`.
inline waited_signal wait(signal_set set) {
    failure refused;
    maybe_signal const got = detail::wait_always(refused, set);
    detail::fail_if(refused);
    return *got;
}

// Reports into `ec` instead: 0 for success, else an errno, and nothing is returned.
template <class ErrorCode>
    requires detail::error_place<ErrorCode> maybe_signal wait(ErrorCode& ec, signal_set set) {
        failure refused;
        maybe_signal const got = detail::wait_always(refused, set);
        ec = refused.errno_code;
        return got;
    }

// The same for at least that long, on CLOCK_MONOTONIC; 0 takes what is pending and does not wait. Nothing is
// returned if none came. Throws tocsin::error (EINVAL) also for a duration that is negative, NaN or more than
// 292 years.
template <detail::duration D>
maybe_signal wait_for(signal_set set, D const& length) {
    failure refused;
    maybe_signal const got = detail::wait_length(refused, set, length);
    detail::fail_if(refused);
    return got;
}

template <class ErrorCode, detail::duration D>
    requires detail::error_place<ErrorCode> maybe_signal wait_for(ErrorCode& ec, signal_set set,
                                                                         D const& length) {
        failure refused;
        maybe_signal const got = detail::wait_length(refused, set, length);
        ec = refused.errno_code;
        return got;
    }

template <class Number>
    requires detail::arithmetic<Number> maybe_signal wait_for(signal_set, Number) {
        constexpr bool has_unit = !detail::arithmetic<Number>;
        static_assert(has_unit, "tocsin: wait_for takes a duration; say the unit: wait_for(set, 100ms)");
        return {};
    }

// The same until the point's own clock says that it has come; then it takes what is pending and does not
// wait. A clock that does not call itself steady is looked at every second, because it may be set. Throws
// tocsin::error (EINVAL) also for a point that is no number, or out of a clock's range.
template <detail::time_point P>
maybe_signal wait_until(signal_set set, P const& until) {
    failure refused;
    maybe_signal const got = detail::wait_point(refused, set, until);
    detail::fail_if(refused);
    return got;
}

template <class ErrorCode, detail::time_point P>
    requires detail::error_place<ErrorCode> maybe_signal wait_until(ErrorCode& ec, signal_set set,
                                                                           P const& until) {
        failure refused;
        maybe_signal const got = detail::wait_point(refused, set, until);
        ec = refused.errno_code;
        return got;
    }

// pause(2) without its race: the thread blocks the signals, looks at what their handlers write, and if it is
// to sleep, this opens them and sleeps in one step, until a handler has run on this thread; then they are
// blocked again. A signal that came before the call ends it at once. Handlers of other signals that the
// thread leaves open end it, too; ignored signals do not. Throws tocsin::error (EINVAL) for an empty set, for
// one with what is no signal or never comes, and for one with a signal that the thread does not block, naming
// it.
//
//     block<SIGUSR1> here;
//     while (!flag) wait_handler(signal_set{SIGUSR1});
inline void wait_handler(signal_set set) {
    failure refused;
    detail::handler_before(refused, set, posix::no_end{});
    detail::fail_if(refused);
}

// The same for at most that long. True if a handler has run, false if the time is over.
template <detail::duration D>
bool wait_handler_for(signal_set set, D const& length) {
    failure refused;
    bool const ran = detail::handler_within(refused, set, length);
    detail::fail_if(refused);
    return ran;
}

template <class Number>
    requires detail::arithmetic<Number>
bool wait_handler_for(signal_set, Number) {
    constexpr bool has_unit = !detail::arithmetic<Number>;
    static_assert(has_unit,
                  "tocsin: wait_handler_for takes a duration; say the unit: wait_handler_for(set, 100ms)");
    return false;
}

template <detail::time_point P>
bool wait_handler_until(signal_set set, P const& until) {
    failure refused;
    bool const ran = detail::handler_until(refused, set, until);
    detail::fail_if(refused);
    return ran;
}

// Report into `ec` instead.
template <class ErrorCode>
    requires detail::error_place<ErrorCode>
void wait_handler(ErrorCode& ec, signal_set set) {
    failure refused;
    detail::handler_before(refused, set, posix::no_end{});
    ec = refused.errno_code;
}

template <class ErrorCode, detail::duration D>
    requires detail::error_place<ErrorCode>
bool wait_handler_for(ErrorCode& ec, signal_set set, D const& length) {
    failure refused;
    bool const ran = detail::handler_within(refused, set, length);
    ec = refused.errno_code;
    return ran;
}

template <class ErrorCode, detail::time_point P>
    requires detail::error_place<ErrorCode>
bool wait_handler_until(ErrorCode& ec, signal_set set, P const& until) {
    failure refused;
    bool const ran = detail::handler_until(refused, set, until);
    ec = refused.errno_code;
    return ran;
}

}  // namespace tocsin
