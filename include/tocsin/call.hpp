// SPDX-License-Identifier: MIT
// `call(f)`: any callable, on the dispatcher thread.
#pragma once

#include <tocsin/delivery.hpp>
#include <tocsin/on.hpp>
#include <tocsin/posix/call_queue.hpp>
#include <tocsin/traits.hpp>

namespace tocsin {

// The guard's queue to the dispatcher, shared by its rows.
struct call_state {
    static constexpr feature provides = feature::call;

    posix::call_queue queue;

    failure open(posix::opening const& to) noexcept { return queue.open(to); }
    failure start() noexcept { return queue.start(); }
    void close() noexcept { queue.close(); }
    failure rearm() noexcept { return queue.rearm(); }
    in_signal::inbox& box() noexcept { return queue.box; }
    void use(posix::deferred_runner run, std::uint64_t (*)(void*, int)) noexcept { queue.run = run; }
};

template <class F>
struct call_t {
    static constexpr stage where = stage::dispatcher;
    static constexpr bool on_fault = false;
    static constexpr bool on_hang = true;
    using state = call_state;

    F function;

    void run(delivery const& what) {
        if constexpr (detail::callable<F, delivery const&>)
            function(what);
        else
            function();
    }
};

// Calls f() or f(delivery const&) on the dispatcher thread, an ordinary thread of the library: f may lock, allocate
// and start processes, and runs with the mask of the thread that built the guard. Once for each signal and round,
// with merged() arrivals; real-time signals one by one. One f at a time in the whole process. An exception that
// leaves f ends the process, as in a std::thread. The guard's destructor waits for a running f: do not hold a lock
// then that f takes. Under a watchdog f runs on another thread, so that a stuck dispatcher does not hold it.
template <class F>
constexpr auto call(F f) {
    constexpr bool fits = detail::callable<F, delivery const&> || detail::callable<F>;
    static_assert(fits, "tocsin: the function of call(f) is called as f() or f(delivery const&); give it "
                        "such a shape");
    if constexpr (fits)
        return call_t<F>{detail::moved(f)};
    else
        return detail::refused{};
}

}  // namespace tocsin
