// SPDX-License-Identifier: MIT
// Work that one of the library's threads does for a guard.
//
// A guard adds a source to a service and removes it again; the service runs it when it has been woken. Removing
// returns when the service is not inside the source, except on the service's own thread: there the source's owner
// is kept alive until the work returns.
#pragma once

#include <tocsin/posix/service.hpp>

namespace tocsin::in_signal {

struct source {
    source* next = nullptr;
    void (*first)(source&) noexcept = nullptr;  // runs before the `then` of every source; may be null
    void (*then)(source&) noexcept = nullptr;   // may be null
    void (*keep)(source&) noexcept = nullptr;   // counts a reference to the owner
    void (*release)(source&) noexcept = nullptr;
    std::uint64_t round = 0;      // guarded by the table's lock
    atomic<std::uint32_t> busy;   // while the service is inside: the process that it runs in, for a forked child
                                  // does not have the thread that would end it
    bool left_from_inside = false;  // removed by its own work; the service gives the reference back
};

}  // namespace tocsin::in_signal

namespace tocsin::posix {

using in_signal::service;
using in_signal::source;

namespace detail {

inline std::uint32_t busy_here() noexcept { return static_cast<std::uint32_t>(in_signal::getpid()); }

// The next source that has not had its turn in this round, marked busy.
inline source* next_source(table& in, service& of, std::uint64_t round) noexcept {
    table_lock const locked{in};
    for (source* at = of.sources; at != nullptr; at = at->next) {
        if (at->round >= round) continue;
        at->round = round;
        at->busy.store(busy_here());
        return at;
    }
    return nullptr;
}

// Once it is not busy, whoever removes the source may free it: nothing of it is touched any more but its address.
inline void give_back(source& done) noexcept {
    if (done.left_from_inside) return done.release(done);
    std::uint32_t* const waited_for = done.busy.address();
    done.busy.store(0);
    in_signal::futex_wake(waited_for, 1 << 30);
}

// A service that starts anew in a forked child counts its rounds from the beginning.
inline void forget_rounds(table& in, service& of) noexcept {
    table_lock const locked{in};
    for (source* at = of.sources; at != nullptr; at = at->next) at->round = 0;
}

inline void run_round(table& in, service& of, std::uint64_t& round) noexcept {
    ++round;
    while (source* const at = next_source(in, of, round)) {
        if (at->first != nullptr) at->first(*at);
        give_back(*at);
    }
    ++round;
    while (source* const at = next_source(in, of, round)) {
        if (at->then != nullptr) at->then(*at);
        give_back(*at);
    }
}

template <in_signal::service_name Name>
void* serve(void* argument) {
    auto& in = *static_cast<table*>(argument);
    service& of = in.services[Name];
    forget_rounds(in, of);
    for (std::uint64_t round = 0;;) {
        while (of.work.load() == 0) in_signal::futex_wait(of.work.address(), 0);
        of.work.store(0);
        run_round(in, of, round);
    }
}

}  // namespace detail

// Adds the source to a service that may not run.
inline void list_source(table& in, in_signal::service_name name, source& added) noexcept {
    table_lock const locked{in};
    service& of = in.services[name];
    added.round = 0;
    added.next = of.sources;
    of.sources = &added;
}

// Adds the source and sees to it that the service runs in this process.
template <in_signal::service_name Name>
failure add_source(table& in, source& added) noexcept {
    list_source(in, Name, added);
    detail::pin_this_object();
    return start_service(in, Name, &detail::serve<Name>);
}

inline void remove_source(table& in, in_signal::service_name name, source& removed) noexcept {
    service& of = in.services[name];
    {
        table_lock const locked{in};
        source** at = &of.sources;
        while (*at != nullptr && *at != &removed) at = &(*at)->next;
        if (*at != nullptr) *at = removed.next;
    }
    std::uint32_t const here = detail::busy_here();
    if (of.thread.load() != in_signal::thread_pointer()) {
        while (removed.busy.load() == here) in_signal::futex_wait(removed.busy.address(), here);
    } else if (removed.busy.load() == here && !removed.left_from_inside) {
        removed.left_from_inside = true;
        removed.keep(removed);
    }
}

inline void wake_service(service& of) noexcept {
    if (of.work.exchange(1) == 0) in_signal::futex_wake(of.work.address(), 1);
}

}  // namespace tocsin::posix
