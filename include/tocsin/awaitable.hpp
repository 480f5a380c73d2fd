// SPDX-License-Identifier: MIT
// `co_await next(signals, awaiter)`: the next delivery of a guard, in a coroutine of whatever runtime.
//
// An opt-in header; it needs no other, not even <coroutine>. Runs on any ordinary thread: where the coroutine runs, and
// where its runtime goes on with it. Nothing is allocated.
//
//     guard signals{on<SIGHUP, rt<3>>(wake)};
//     while (delivery const d = co_await next(signals, loop); d.signal() != 0) handle(d);
//
// The awaiter is what the program knows of its runtime: an object that is called as awaiter(fd, go_on), and sees to it
// that go_on() is called once, later, on whatever thread, when the descriptor is readable, as poll(2) means it. Called
// too early it only looks again. go_on.cancel() in its place ends the wait without a delivery. For epoll it is three
// lines: EPOLL_CTL_MOD with EPOLLIN | EPOLLONESHOT, and a call behind epoll_wait.
//
// The signals are a guard with a `wake` row, a signal_descriptor, or anything else with fd() and take(). They and the
// awaiter outlive the wait; a coroutine that is destroyed while it waits first makes its runtime forget go_on. Several
// coroutines may wait for one guard: each delivery goes to one of them.
#pragma once

#include <type_traits>
#include <utility>

#include <tocsin/delivery.hpp>

namespace tocsin {

// What an awaiter calls. A value; exactly one of its copies is called, once.
class go_on {
  public:
    go_on(void* wait, void (*then)(void*, bool)) noexcept : wait_{wait}, then_{then} {}

    void operator()() const { then_(wait_, false); }
    // The wait is over without a delivery: a stop has been requested, or a time has passed.
    void cancel() const { then_(wait_, true); }

  private:
    void* wait_;
    void (*then_)(void*, bool);
};

namespace detail {

template <class T>
concept has_deliveries = requires(T& of) {
    of.fd();
    of.take();
};

}  // namespace detail

// What co_await is given; it lives in the coroutine's frame while the coroutine waits.
template <class Signals, class Awaiter>
class [[nodiscard]] next_delivery {
  public:
    using value_type = std::remove_cvref_t<decltype(*std::declval<Signals&>().take().begin())>;

    next_delivery(Signals& signals, Awaiter& awaiter) noexcept : signals_{signals}, awaiter_{awaiter} {}
    next_delivery(next_delivery const&) = delete;
    next_delivery& operator=(next_delivery const&) = delete;

    bool await_ready() { return take(); }
    // Of std::coroutine_handle, or of one that is like it. Nothing here is touched once the awaiter has been called: it
    // may have gone on already.
    template <class Handle>
    void await_suspend(Handle coroutine) {
        coroutine_ = coroutine.address();
        resume_ = [](void* address) { Handle::from_address(address).resume(); };
        wait();
    }
    // Signal 0 if the wait was cancelled.
    value_type await_resume() const noexcept { return found_; }

  private:
    // The first one that is there. The rest of the walk stays, and keeps the descriptor readable.
    bool take() {
        for (auto const& each : signals_.take()) {
            found_ = each;
            return true;
        }
        return false;
    }

    void wait() { awaiter_(signals_.fd(), go_on{this, &woken}); }

    static void woken(void* self, bool cancelled) {
        auto& wait = *static_cast<next_delivery*>(self);
        if (!cancelled && !wait.take()) return wait.wait();  // somebody else was faster
        wait.resume_(wait.coroutine_);
    }

    Signals& signals_;
    Awaiter& awaiter_;
    void* coroutine_ = nullptr;
    void (*resume_)(void*) = nullptr;
    value_type found_{};
};

// The next delivery of `signals`: at once if one is there, else when the awaiter goes on.
template <class Signals, class Awaiter>
auto next(Signals& signals, Awaiter& awaiter) {
    constexpr bool has_some = detail::has_deliveries<Signals>;
    static_assert(has_some, "tocsin: next(signals, awaiter) takes what has fd() and take(): a guard with a wake row, "
                            "or a signal_descriptor");
    constexpr bool fits = std::is_invocable_v<Awaiter&, int, go_on>;
    static_assert(fits, "tocsin: the awaiter of next(signals, awaiter) is called as awaiter(fd, go_on); give it these "
                        "parameters");
    if constexpr (has_some && fits) return next_delivery<Signals, Awaiter>{signals, awaiter};
}

}  // namespace tocsin
