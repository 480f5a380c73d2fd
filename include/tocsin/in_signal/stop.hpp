// SPDX-License-Identifier: MIT
// The handler's part of a request to stop.
//
// Runs in the handler.
#pragma once

#include <tocsin/in_signal/inbox.hpp>
#include <tocsin/in_signal/reraise.hpp>

namespace tocsin::in_signal {

struct stop_request {
    atomic<std::uint64_t> first;          // when the first request came (monotonic ns), 0 before
    atomic<std::uint32_t> to_dispatch;    // 1 while the dispatcher has to do its part
    atomic<std::uint32_t> dispatched;
    atomic<std::int32_t> process;
    atomic<std::int32_t> asked_in;        // the process that `first` came to
    service* thread;

    bool requested() const noexcept { return first.load_relaxed() != 0; }
};

inline void note_stop(stop_request& stop, place where) noexcept {
    if (where != place::home) return;
    stop.to_dispatch.store(1);
    if (stop.thread != nullptr && stop.thread->work.exchange(1) == 0) futex_wake(stop.thread->work.address(), 1);
}

// What the parent was asked before the fork is none of the child's: its own first request is not a second one.
inline void forget_parents(stop_request& stop) noexcept {
    stop.dispatched.store(0);
    stop.first.store(0);
}

// The first request sets the flag, in a forked child for the child alone. Another one that comes after the stop
// has been dispatched, or a second later, takes the default disposition; those between are duplicates.
struct ask_to_stop {
    stop_request* stop;
    bool every_time;

    void operator()(arrival& a) const noexcept {
        constexpr std::uint64_t patience = 1'000'000'000;
        place const where = a.place_of(stop->process.load_relaxed());
        if (where == place::borrowed) return;
        std::uint64_t const now = monotonic();
        std::uint64_t first = 0;
        if (where == place::forked && stop->asked_in.load() != a.pid()) forget_parents(*stop);
        if (stop->first.compare_exchange(first, now)) {
            stop->asked_in.store(a.pid());
            return note_stop(*stop, where);
        }
        bool const again = stop->dispatched.load() != 0 || now - first >= patience;
        if (again && !every_time && a.signal != 0) take_default(a);
    }
};

}  // namespace tocsin::in_signal
