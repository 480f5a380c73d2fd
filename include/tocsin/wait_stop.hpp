// SPDX-License-Identifier: MIT
// `wait(set, token)`, `wait_for(set, token, 2s)`, `wait_until(set, token, point)`: waits that a
// std::stop_token ends; and the same of `wait_handler`.
//
// Runs on any ordinary thread; cancellation points. Not part of tocsin.hpp: <stop_token> is dear. As the
// waits of wait.hpp, with the token where condition_variable_any has it. Needs two descriptors while it
// waits, one for a handler.
#pragma once

#include <version>

#if !defined(__cpp_lib_jthread)
#error "tocsin: this standard library has no <stop_token>; use the waits of <tocsin/wait.hpp> with a deadline"
#else

#include <sys/eventfd.h>
#include <sys/signalfd.h>

#include <stop_token>

#include <tocsin/error.hpp>
#include <tocsin/posix/duration_refusal.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/posix/waiting.hpp>
#include <tocsin/signal_set.hpp>
#include <tocsin/waited_signal.hpp>

namespace tocsin {

namespace detail {

// Once the signalfd is readable the signal is taken by sigtimedwait(3), which tells more of it.
template <class Moment>
posix::taken take_unless(std::stop_token const& token, sigset_t const& set, Moment const& moment) {
    posix::owned_descriptor const signals{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
    if (signals.fd() < 0) return {{}, false, {errno, "signalfd", 0}};
    posix::owned_descriptor const stop{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (stop.fd() < 0) return {{}, false, {errno, "eventfd", 0}};
    std::stop_callback const wake{token, [fd = stop.fd()]() noexcept { ::eventfd_write(fd, 1); }};
    pollfd fds[2] = {{signals.fd(), POLLIN, 0}, {stop.fd(), POLLIN, 0}};
    for (;;) {
        posix::woken by{};
        if (failure const refused = posix::sleep_with(nullptr, fds, 2, moment, by))
            return {{}, false, refused};
        if (token.stop_requested()) return {};
        // another thread may have been faster
        posix::taken const got = posix::take_before(set, posix::at_once{});
        if (got.some || got.refused || by == posix::woken::by_time) return got;
    }
}

template <class Moment>
maybe_signal wait_unless(std::stop_token const& token, signal_set set, Moment const& moment, char const* word,
                         char const* nothing) {
    if (failure const refused = posix::waiting_refusal(set, word, nothing)) posix::fail(refused);
    if (token.stop_requested()) return {};
    posix::mask const meanwhile{posix::to_signals_in(set)};
    if (meanwhile.refused()) posix::fail(meanwhile.refused());
    posix::taken const got = take_unless(token, set.native(), moment);
    if (got.refused) posix::fail(got.refused);
    return got.some ? maybe_signal{got.info} : maybe_signal{};
}

// True if a handler has run.
template <class Moment>
bool handler_unless(std::stop_token const& token, signal_set set, Moment const& moment) {
    posix::owned_descriptor const stop{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (stop.fd() < 0) posix::fail({errno, "eventfd", 0});
    std::stop_callback const wake{token, [fd = stop.fd()]() noexcept { ::eventfd_write(fd, 1); }};
    pollfd requested{stop.fd(), POLLIN, 0};
    posix::woken by{};
    if (failure const refused = posix::sleep_open(set, &requested, 1, moment, by)) posix::fail(refused);
    return by == posix::woken::by_handler;
}

[[gnu::visibility("hidden")]] inline constexpr posix::duration_words wait_stop_for_words{
    "wait_for(negative duration)", nullptr, "wait_for(not a number)", "wait_for(over 292 years)"};
[[gnu::visibility("hidden")]] inline constexpr posix::duration_words wait_stop_until_words{
    "wait_until(negative)", nullptr, "wait_until(not a number)",
    "wait_until(over 292 years from the clock's beginning)"};

}  // namespace detail

// Waits for one of the signals and takes it. Nothing is returned once a stop is requested, even if signals
// are pending: they stay so. Throws tocsin::error as wait(set) does, and with EMFILE, ENFILE or ENOMEM where
// no descriptor is left.
inline maybe_signal wait(signal_set set, std::stop_token const& token) {
    return detail::wait_unless(token, set, posix::no_end{}, "wait", "wait(empty set)");
}

// The same for at least that long. Nothing is returned if the time is over, or a stop is requested.
template <detail::duration D>
maybe_signal wait_for(signal_set set, std::stop_token const& token, D const& length) {
    posix::after const moment{length, detail::wait_stop_for_words};
    if (moment.refused()) posix::fail(moment.refused());
    return detail::wait_unless(token, set, moment, "wait_for", "wait_for(empty set)");
}

// The same until the point has come on its own clock.
template <detail::time_point P>
maybe_signal wait_until(signal_set set, std::stop_token const& token, P const& until) {
    posix::at<P> const moment{until, detail::wait_stop_until_words};
    if (moment.refused()) posix::fail(moment.refused());
    return detail::wait_unless(token, set, moment, "wait_until", "wait_until(empty set)");
}

// As wait_handler(set), with a token. True if a handler has run, false if a stop is requested, or the time is
// over.
inline bool wait_handler(signal_set set, std::stop_token const& token) {
    return detail::handler_unless(token, set, posix::no_end{});
}

template <detail::duration D>
bool wait_handler_for(signal_set set, std::stop_token const& token, D const& length) {
    posix::after const moment{length, detail::wait_stop_for_words};
    if (moment.refused()) posix::fail(moment.refused());
    return detail::handler_unless(token, set, moment);
}

template <detail::time_point P>
bool wait_handler_until(signal_set set, std::stop_token const& token, P const& until) {
    posix::at<P> const moment{until, detail::wait_stop_until_words};
    if (moment.refused()) posix::fail(moment.refused());
    return detail::handler_unless(token, set, moment);
}

}  // namespace tocsin

#endif
