// SPDX-License-Identifier: MIT
// `defer(f)`: flag now, run where the owner calls check().
#pragma once

#include <errno.h>
#include <signal.h>

#include <tocsin/delivery.hpp>
#include <tocsin/on.hpp>
#include <tocsin/posix/safe_point.hpp>
#include <tocsin/traits.hpp>

namespace tocsin {

using defer_state = posix::safe_point_state<feature::safe_point>;

namespace detail {

// Calls f(what) or f(), whichever it can be called as.
template <class F>
void call_with(F& function, delivery const& what) {
    if constexpr (callable<F, delivery const&>)
        function(what);
    else
        function();
}

// The words behind defer(f) where it has been refused.
struct refused_defer : refused {
    template <class Orphan>
    constexpr refused_defer on_orphaned(Orphan const&) const noexcept {
        return {};
    }
};

}  // namespace detail

// Sends the signal again, with what it carried, after the claims are withdrawn: what was there before the guard meets
// it. Merged standard signals are one again.
struct redeliver_t {
    void operator()(delivery const& what) const noexcept {
        siginfo_t info{};
        info.si_signo = what.signal();
        info.si_code = what.code();
        info.si_pid = what.pid();
        info.si_uid = what.uid();
        if (what.code() == SI_QUEUE) info.si_value.sival_ptr = what.pointer();
        if (what.signal() == SIGCHLD) info.si_status = what.status();
        int const process = in_signal::getpid();
        long const refused =
            in_signal::system_call(SYS_rt_sigqueueinfo, process, what.signal(), in_signal::as_word(&info));
        // A thread other than the first may send codes of the kernel's own to itself only (do_rt_sigqueueinfo).
        if (refused == -EPERM) in_signal::queue_to_thread(process, in_signal::gettid(), what.signal(), &info);
    }
};
[[gnu::visibility("hidden")]] inline constexpr redeliver_t redeliver{};

template <class F>
struct defer_t;

// defer(f) with a word for what f will never see.
template <class F, class Orphan>
struct defer_or_orphan_t {
    static constexpr stage where = stage::safe_point;
    static constexpr bool on_fault = false;
    static constexpr bool on_hang = true;
    using state = defer_state;
    using word = defer_t<F>;

    F function;
    Orphan orphaned;

    void run(delivery const& what) { detail::call_with(function, what); }
    void orphan(delivery const& what) noexcept { detail::call_with(orphaned, what); }
};

template <class F>
struct defer_t {
    static constexpr stage where = stage::safe_point;
    static constexpr bool on_fault = false;
    static constexpr bool on_hang = true;
    using state = defer_state;

    F function;

    void run(delivery const& what) { detail::call_with(function, what); }

    // What becomes of a delivery that is still pending when its guard ends. By default nothing; g() or
    // g(delivery const&) is called for each on the thread that ends the guard, after the signals have been given back,
    // and must not throw; `redeliver` lets the previous disposition have it.
    template <class Orphan>
    constexpr auto on_orphaned(Orphan g) && {
        constexpr bool fits = detail::callable<Orphan, delivery const&> || detail::callable<Orphan>;
        static_assert(fits, "tocsin: the function of on_orphaned(g) is called as g() or g(delivery const&); give it "
                            "such a shape");
        if constexpr (fits)
            return defer_or_orphan_t<F, Orphan>{detail::moved(function), detail::moved(g)};
        else
            return detail::refused{};
    }
};

// Remembers the signal in the handler and calls f() or f(delivery const&) on the thread that calls guard.check(),
// when it does. An exception leaves check(); what had not run yet stays pending.
template <class F>
constexpr auto defer(F f) {
    constexpr bool fits = detail::callable<F, delivery const&> || detail::callable<F>;
    static_assert(fits, "tocsin: the function of defer(f) is called as f() or f(delivery const&); give it "
                        "such a shape");
    if constexpr (fits)
        return defer_t<F>{detail::moved(f)};
    else
        return detail::refused_defer{};
}

}  // namespace tocsin
