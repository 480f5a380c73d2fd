// SPDX-License-Identifier: MIT
// `retry(f)`: a system call made again where a signal interrupted it, with a deadline that this does not move.
//
// Runs on any ordinary thread. A try has failed with EINTR if f returned -1 and errno says so; every other result is
// handed on, errno as f left it. With a guard, its deferred reactions run before each try, and what they throw leaves
// retry(): that is how a signal ends a wait. A signal that comes between that look and the system call does not
// interrupt it; where this matters, wait for the descriptor of a `wake` row as well.
//
// For calls that can be made again. Not for close(2), whose descriptor is gone after EINTR on Linux, and not for
// connect(2), which goes on in the background and is waited for with poll(2) (POSIX.1-2017, connect). Of nanosleep(2)
// each try would sleep the whole length: see sleep.hpp.
#pragma once

#include <errno.h>

#include <concepts>
#include <type_traits>

#include <tocsin/duration.hpp>
#include <tocsin/in_signal/system.hpp>
#include <tocsin/posix/duration_refusal.hpp>
#include <tocsin/posix/refusal.hpp>

namespace tocsin {

// What a system call does after a handler has returned (signal(7), "Interruption of system calls and library
// functions by signal handlers").
enum class interruption : unsigned char {
    restarts,            // goes on, unless the row is `interrupting()`
    fails,               // fails with EINTR whatever the row says
    fails_with_timeout,  // a socket call: as `fails` where SO_RCVTIMEO or SO_SNDTIMEO is set, otherwise restarts
    once,                // must not be made again: it has done its work, or goes on by itself
};

namespace detail {

struct interruption_rule {
    char const* call;
    interruption rule;
};

[[gnu::visibility("hidden")]] inline constexpr interruption_rule interruption_rules[] = {
    {"read", interruption::restarts},
    {"readv", interruption::restarts},
    {"write", interruption::restarts},
    {"writev", interruption::restarts},
    {"ioctl", interruption::restarts},
    {"open", interruption::restarts},
    {"wait", interruption::restarts},
    {"wait3", interruption::restarts},
    {"wait4", interruption::restarts},
    {"waitid", interruption::restarts},
    {"waitpid", interruption::restarts},
    {"flock", interruption::restarts},
    {"fcntl", interruption::restarts},
    {"mq_receive", interruption::restarts},
    {"mq_send", interruption::restarts},
    {"mq_timedreceive", interruption::restarts},
    {"mq_timedsend", interruption::restarts},
    {"futex", interruption::restarts},
    {"getrandom", interruption::restarts},
    {"sem_wait", interruption::restarts},
    {"sem_timedwait", interruption::restarts},
    {"accept", interruption::fails_with_timeout},
    {"accept4", interruption::fails_with_timeout},
    {"recv", interruption::fails_with_timeout},
    {"recvfrom", interruption::fails_with_timeout},
    {"recvmsg", interruption::fails_with_timeout},
    {"recvmmsg", interruption::fails_with_timeout},
    {"send", interruption::fails_with_timeout},
    {"sendto", interruption::fails_with_timeout},
    {"sendmsg", interruption::fails_with_timeout},
    {"pause", interruption::fails},
    {"sigsuspend", interruption::fails},
    {"sigtimedwait", interruption::fails},
    {"sigwaitinfo", interruption::fails},
    {"epoll_wait", interruption::fails},
    {"epoll_pwait", interruption::fails},
    {"epoll_pwait2", interruption::fails},
    {"poll", interruption::fails},
    {"ppoll", interruption::fails},
    {"select", interruption::fails},
    {"pselect", interruption::fails},
    {"msgrcv", interruption::fails},
    {"msgsnd", interruption::fails},
    {"semop", interruption::fails},
    {"semtimedop", interruption::fails},
    {"clock_nanosleep", interruption::fails},
    {"nanosleep", interruption::fails},
    {"usleep", interruption::fails},
    {"io_getevents", interruption::fails},
    {"close", interruption::once},
    {"connect", interruption::once},
};

constexpr bool same_text(char const* left, char const* right) noexcept {
    while (*left != '\0' && *left == *right) {
        ++left;
        ++right;
    }
    return *left == *right;
}

// Not constant, so that the compiler refuses a name that is in no list.
inline void this_call_is_not_in_the_list() noexcept {}

}  // namespace detail

// The rule for a call by its name; a name that is not in signal(7) does not compile. For one's own assertions:
// static_assert(interruption_of("poll") == interruption::fails).
consteval interruption interruption_of(char const* call) {
    for (detail::interruption_rule const& each : detail::interruption_rules)
        if (detail::same_text(each.call, call)) return each.rule;
    detail::this_call_is_not_in_the_list();
    return {};
}

// True if the call fails with EINTR though the row does not say `interrupting()`.
consteval bool never_restarts(char const* call) { return interruption_of(call) == interruption::fails; }

// What is left, in the milliseconds that poll(2) and epoll_wait(2) count, rounded up so that they do not spin.
constexpr int poll_timeout(time_left left) noexcept {
    constexpr std::int64_t a_millisecond = 1'000'000;
    constexpr std::int64_t most = 0x7fffffff;
    std::int64_t const whole = left.count() / a_millisecond + (left.count() % a_millisecond > 0 ? 1 : 0);
    return static_cast<int>(whole < 0 ? 0 : whole < most ? whole : most);
}

namespace detail {

[[gnu::visibility("hidden")]] inline constexpr posix::duration_words retry_words{
    "retry(negative duration)", nullptr, "retry(not a number)", "retry(over 292 years)"};

template <class F>
concept takes_time = std::is_invocable_v<F&, time_left>;
template <class F>
concept tried_without_time = std::is_invocable_v<F&>;

template <class F>
struct result_of_try {
    using type = void;
};
template <takes_time F>
struct result_of_try<F> {
    using type = std::invoke_result_t<F&, time_left>;
};
template <class F>
    requires(!takes_time<F> && tried_without_time<F>)
struct result_of_try<F> {
    using type = std::invoke_result_t<F&>;
};
template <class F>
using try_result = typename result_of_try<F>::type;

// Answers by its type; its sentence has been printed otherwise.
template <class F, bool Deadline>
constexpr auto check_retried() {
    constexpr bool shape = tried_without_time<F> || (Deadline && takes_time<F>);
    static_assert(shape, "tocsin: the function of retry is called as f(), or with a deadline as f(time_left); give it "
                         "such a shape");
    constexpr bool number = !shape || std::signed_integral<try_result<F>>;
    static_assert(number, "tocsin: the function of retry answers as a system call does: a signed number, -1 for an "
                          "error in errno");
    return std::bool_constant<shape && number>{};
}

template <class F>
auto try_once(F& f, time_left left) {
    if constexpr (takes_time<F>)
        return f(left);
    else
        return f();
}

template <class Result>
bool was_interrupted(Result const& result) noexcept {
    return result == Result{-1} && errno == EINTR;
}

struct no_check {
    void check() const noexcept {}
};

template <class Guard, class F>
auto retry_for_ever(Guard& signals, F& f) {
    for (;;) {
        signals.check();
        auto const result = f();
        if (!was_interrupted(result)) return result;
    }
}

// `left` answers what is left until the deadline, 0 once it has passed. f is tried at least once, and once more after
// the deadline if it can be told that nothing is left: then it answers as it does for its own timeout.
template <class Guard, class Left, class F>
auto retry_until(Guard& signals, Left const& left, F& f) {
    for (;;) {
        signals.check();
        time_left const now = left();
        auto const result = try_once(f, now);
        if (!was_interrupted(result)) return result;
        bool const passed = takes_time<F> ? now.count() <= 0 : left().count() <= 0;
        if (!passed) continue;
        signals.check();
        errno = ETIMEDOUT;
        return result;
    }
}

template <class D>
auto left_of_duration(D const& length) {
    units const most = whole_units<1'000'000'000>(length);
    if (failure const refused = posix::refusal(most.is, retry_words)) posix::fail(refused);
    std::uint64_t const begin = in_signal::monotonic();
    return [begin, most] {
        std::uint64_t const passed = in_signal::monotonic() - begin;
        return time_left{passed < most.count ? static_cast<std::int64_t>(most.count - passed) : 0};
    };
}

template <class P>
auto left_of_point(P const& until) {
    return [until] {
        auto const distance = until - P::clock::now();
        units const found = whole_units<1'000'000'000>(distance);
        return time_left{static_cast<std::int64_t>(found.count)};
    };
}

template <class T>
concept deadline_or_length = duration<T> || time_point<T>;

template <class T>
auto left_of(T const& limit) {
    if constexpr (time_point<T>)
        return left_of_point(limit);
    else
        return left_of_duration(limit);
}

}  // namespace detail

// Calls f() until it does anything else than fail with EINTR, and answers what it answered.
template <class F>
auto retry(F f) {
    if constexpr (decltype(detail::check_retried<F, false>())::value) {
        detail::no_check nothing;
        return detail::retry_for_ever(nothing, f);
    }
}

// The same, with the guard's deferred reactions before each try.
template <class Guard, class F>
    requires(!detail::deadline_or_length<Guard>)
auto retry(Guard& signals, F f) {
    constexpr bool asks = requires { signals.check(); };
    static_assert(asks, "tocsin: retry(signals, f) asks a guard; retry(5s, f) is for a deadline");
    if constexpr (asks && decltype(detail::check_retried<F, false>())::value)
        return detail::retry_for_ever(signals, f);
}

// The same until a deadline: a length of time from now, on CLOCK_MONOTONIC, or a point of a clock. f is called as
// f(time_left), with what is left of it, or as f(), which then bounds itself. Once the deadline has passed,
// f(time_left) is tried with 0; f() is not tried again after EINTR, and the answer is -1 with ETIMEDOUT. Throws
// tocsin::error (EINVAL) for a length that is negative, NaN or more than 292 years; a point may have passed.
template <detail::deadline_or_length Limit, class F>
auto retry(Limit const& limit, F f) {
    if constexpr (decltype(detail::check_retried<F, true>())::value) {
        detail::no_check nothing;
        return detail::retry_until(nothing, detail::left_of(limit), f);
    }
}

template <class Guard, detail::deadline_or_length Limit, class F>
auto retry(Guard& signals, Limit const& limit, F f) {
    constexpr bool asks = requires { signals.check(); };
    static_assert(asks, "tocsin: retry(signals, 5s, f) asks a guard first");
    if constexpr (asks && decltype(detail::check_retried<F, true>())::value)
        return detail::retry_until(signals, detail::left_of(limit), f);
}

}  // namespace tocsin
