// SPDX-License-Identifier: MIT
// `request_stop`: Ctrl-C and SIGTERM ask the program to stop; a second one ends it.
#pragma once

#include <version>

#if defined(__cpp_lib_jthread)
#include <stop_token>
#endif

#include <tocsin/in_signal/stop.hpp>
#include <tocsin/on.hpp>
#include <tocsin/posix/owned_source.hpp>

namespace tocsin {

#if defined(__cpp_lib_jthread)
// A stop source of the standard library; tripping it locks and runs callbacks, so the dispatcher does it.
class stop_source {
  public:
    void trip() { source_.request_stop(); }
    auto token() const noexcept { return source_.get_token(); }
    void renew() { source_ = std::stop_source{}; }

  private:
    std::stop_source source_;
};
#else
// For standard libraries without <stop_token>: the flag is all there is.
class stop_source {
  public:
    void trip() noexcept {}
    void renew() noexcept {}
};
#endif

struct stop_state : posix::owned_source {
    static constexpr feature provides = feature::stop;

    in_signal::stop_request request{};
    stop_source source;
    in_signal::table* in = nullptr;

    failure open(posix::opening const& to) noexcept {
        in = to.in;
        belong_to(to);
        first = [](posix::source& self) noexcept { static_cast<stop_state&>(self).dispatch(); };
        request.thread = &in->services[in_signal::dispatcher];
        request.process.store(in_signal::getpid());
        return {};
    }
    failure start() noexcept { return posix::add_source<in_signal::dispatcher>(*in, *this); }
    void close() noexcept {
        if (in != nullptr) posix::remove_source(*in, in_signal::dispatcher, *this);
    }
    // A forked child starts without the parent's stop, and with a stop source of its own. A stop that the child has
    // been asked for since then is dispatched.
    failure rearm() {
        std::int32_t const self = in_signal::getpid();
        if (request.process.load() != self) {
            source.renew();
            request.to_dispatch.store(0);
            request.dispatched.store(0);
            if (request.asked_in.load() != self) request.first.store(0);
            request.process.store(self);
            if (request.requested()) request.to_dispatch.store(1);
        }
        failure const refused =
            posix::start_service(*in, in_signal::dispatcher, &posix::detail::serve<in_signal::dispatcher>);
        posix::wake_service(*request.thread);
        return refused;
    }

    void dispatch() noexcept {
        if (request.process.load() != in_signal::getpid() || request.to_dispatch.exchange(0) == 0) return;
        request.dispatched.store(1);
        source.trip();
    }
};

struct request_stop_t {
    static constexpr stage where = stage::handler;
    static constexpr bool on_fault = false;
    static constexpr bool on_hang = true;
    using state = stop_state;

    bool every_time = false;

    // No number of signals takes the default disposition.
    constexpr request_stop_t every() const noexcept { return {true}; }
    in_signal::ask_to_stop part(stop_state& shared) const noexcept { return {&shared.request, every_time}; }
};

// Asks the program to stop: guard.stop_requested() is true from the handler on, guard.stop_token() is tripped by the
// dispatcher. A further signal of the row takes the default disposition once the stop has been dispatched, or one
// second after the first; earlier duplicates merge, for supervisors often send twice.
[[gnu::visibility("hidden")]] inline constexpr request_stop_t request_stop{};

}  // namespace tocsin
