// SPDX-License-Identifier: MIT
// The guard: takes a table of rows, installs it, and puts back what it found.
//
// Runs on any ordinary thread. Construction is all or nothing. A guard does not move; guards nest, and may be
// destroyed in any order. The destructor returns when no thread is inside a reaction of the guard, except that it
// does not wait for the reaction that it is called from.
#pragma once

#include <new>

#include <tocsin/claimed_once.hpp>
#include <tocsin/error.hpp>
#include <tocsin/guard_state.hpp>
#include <tocsin/on.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/signal_set.hpp>
#include <tocsin/traits.hpp>

namespace tocsin {

namespace detail {

template <class ErrorCode>
concept takes_errno = requires(ErrorCode& ec) { ec = some<int>(); };

}  // namespace detail

// A table of dispositions, in force from the constructor to the destructor; `guard signals{on<SIGTERM>(wake), …}`. It
// does not move, handlers point into it. Which members it has depends on its rows; see README.md, or the compiler.
template <class... Rows>
class guard {
    using checked = decltype(detail::check_claims<Rows...>());
    using checked_names = decltype(detail::check_names<Rows...>());

  public:
    // Throws tocsin::error, with everything as before. Without exceptions it prints the error and aborts: use the
    // constructor below.
    [[nodiscard]] explicit guard(Rows... rows) {
        if (failure const refused = open(detail::moved(rows)...)) {
            end();
            posix::fail(refused);
        }
    }

    // Reports into `ec` instead: 0 for success, else an errno. A guard that failed is empty and converts to false.
    template <class ErrorCode>
        requires detail::takes_errno<ErrorCode>
    [[nodiscard]] guard(ErrorCode& ec, Rows... rows) noexcept {
        ec = open(detail::moved(rows)...).errno_code;
    }

    ~guard() {
        if (installed_) {
            if constexpr (state_type::all_in_handler)
                state_->uninstall();
            else
                state_->close();
        }
        end();
    }
    guard(guard const&) = delete;
    guard& operator=(guard const&) = delete;

    // False if the guard could not be installed.
    explicit operator bool() const noexcept { return installed_; }

    // The descriptor that becomes readable when a signal of a `wake` row has arrived. The guard owns it; only poll it.
    template <class Self = guard>
    int fd() const noexcept {
        static_assert(Self::template has<feature::wake>(),
                      "tocsin: fd() needs a row that wakes; add on<SIG...>(wake)");
        return shared<Self, feature::wake>().fd();
    }

    // What has arrived for `wake` rows, as a range; see `arrivals`. Any thread may call it.
    template <class Self = guard>
    auto take() noexcept {
        static_assert(Self::template has<feature::wake>(),
                      "tocsin: take() needs a row that wakes; add on<SIG...>(wake)");
        return shared<Self, feature::wake>().take();
    }

    // True once a signal of a `request_stop` row has arrived. One relaxed load; callable anywhere.
    template <class Self = guard>
    bool stop_requested() const noexcept {
        static_assert(Self::template has<feature::stop>(),
                      "tocsin: stop_requested() needs a row that stops; add on<SIGTERM>(request_stop)");
        return shared<Self, feature::stop>().request.requested();
    }

    // The same as a std::stop_token, tripped on the dispatcher thread.
    template <class Self = guard>
    auto stop_token() const noexcept {
        static_assert(Self::template has<feature::stop>(),
                      "tocsin: stop_token() needs a row that stops; add on<SIGTERM>(request_stop)");
        constexpr bool known = requires { shared<Self, feature::stop>().source.token(); };
        static_assert(!Self::template has<feature::stop>() || known,
                      "tocsin: this standard library has no <stop_token>; ask stop_requested() instead");
        if constexpr (known) return shared<Self, feature::stop>().source.token();
    }

    // True if check() has something to run. One relaxed load; callable anywhere, handlers included.
    template <class Self = guard>
    bool pending() const noexcept {
        static_assert(Self::template has<feature::safe_point>(),
                      "tocsin: pending() needs a deferred row; add on<SIG...>(defer(f))");
        return pending_.load_relaxed() != 0;
    }

    // Runs the `defer` reactions that are pending, in ascending order of their signals, and answers for how many
    // deliveries. One thread at a time: a concurrent call returns 0 at once; a call from inside a reaction runs the
    // others. What a reaction throws leaves check(), and the rest stays pending.
    template <class Self = guard>
    std::size_t check() {
        static_assert(Self::template has<feature::safe_point>(),
                      "tocsin: check() needs a deferred row; add on<SIG...>(defer(f))");
        return pending() ? shared<Self, feature::safe_point>().point.check() : 0;
    }

    // Takes what is pending for a signal of a `defer` row, without its reactions: the last delivery that was recorded,
    // standing for all of them (`merged`); its signal is 0 if there was none. Of standard signals that merged, the
    // record has the first. As for check, one thread at a time: while another is in check(), there is none.
    template <class Self = guard>
    delivery consume(int signal) {
        static_assert(Self::template has<feature::safe_point>(),
                      "tocsin: consume() needs a deferred row; add on<SIG...>(defer(f))");
        return pending() ? shared<Self, feature::safe_point>().point.consume(signal) : delivery{};
    }

    // While the object that it answers lives, this thread is the owner of the guard's `defer` rows: a signal of theirs
    // that came on another thread is sent on to it as an interruption, which runs nothing and wakes it from the system
    // call that it waits in. That call fails with EINTR if the row is `interrupting()`, or if it is one that is never
    // restarted (see retry.hpp). A signal that comes between check() and the call does not interrupt it. A handler that
    // others install over the guard's sees interruptions as signals. One owner at a time, the last one counts; it ends
    // on its own thread, before the guard does. Not inherited by a forked child.
    template <class Self = guard>
    [[nodiscard]] auto own() noexcept {
        constexpr bool any = Self::template has<feature::safe_point>();
        static_assert(any, "tocsin: own() needs a deferred row; add on<SIG...>(defer(f))");
        if constexpr (any) return shared<Self, feature::safe_point>().own();
    }

    // The signals of this guard that somebody else has given a disposition to since, without a row: event loops do,
    // that install their handler over ours, or put the default where ours was when they stop. Asks the kernel, a system
    // call for each signal.
    signal_set check_ownership() const noexcept { return installed_ ? state_->taken() : signal_set{}; }

    // Takes those back, and answers which. A default, or an ignore, that was put there is dropped; a handler is called
    // by rows that end in `chain`. Throws tocsin::error if the system refuses. One thread at a time, and not while a
    // guard on the same signals ends on another.
    signal_set reinstall() {
        signal_set const lost = check_ownership();
        if (lost.empty()) return lost;
        if (failure const refused = state_->take_back(lost)) posix::fail(refused);
        return lost;
    }

    // All is well: every watchdog of this guard that has no name starts anew. One relaxed store; callable anywhere.
    template <class Self = guard>
    void feed() noexcept {
        constexpr bool any = Self::template has<feature::watchdog>();
        static_assert(any, "tocsin: feed() needs a watchdog; add watchdog(30s)(dump_threads)");
        constexpr bool unnamed = !any || Self::state_type::has_unnamed;
        static_assert(unnamed, "tocsin: every watchdog of this guard has a name; feed each by its name, and members of "
                               "a table by their handle");
        fed_[0].store_relaxed(1);
    }

    // The same for the watchdog of this name, and no other: feed<"render">().
    template <watch_name Name, class Self = guard>
    void feed() noexcept {
        constexpr unsigned place = Self::state_type::template place_of<Name>;
        static_assert(place != 0, "tocsin: no watchdog of this guard has this name; feed one by the name "
                                  "that its row has");
        fed_[place].store_relaxed(1);
    }

    // While the object that it answers lives, nothing has to be fed: the watchdogs without a name rest, and start anew
    // at its end. For a loop that has nothing to do. Rests nest, and any thread may have one; each ends before the
    // guard does. In a forked child, rearm() ends those that began before.
    template <class Self = guard>
    [[nodiscard]] auto resting() noexcept {
        constexpr bool any = Self::template has<feature::watchdog>();
        static_assert(any, "tocsin: resting() needs a watchdog; add watchdog(30s)(dump_threads)");
        constexpr bool unnamed = !any || Self::state_type::has_unnamed;
        static_assert(unnamed,
                      "tocsin: resting() is for watchdogs without a name, and every one of this guard has a name");
        if constexpr (any) return shared<Self, feature::watchdog>().rest();
    }

    // Makes the guard live again in a forked child, where by default nothing is written to what the parent shares and
    // no helper thread runs: with descriptors and threads of its own, and nothing pending. In the process that built
    // the guard it does nothing. Throws as the constructor does.
    template <class Self = guard>
    void rearm() {
        static_assert(Self::state_type::can_be_rearmed,
                      "tocsin: rearm() needs a row with something to renew after fork: wake, call, defer, "
                      "request_stop, a watchdog or dump_threads");
        if (!installed_) return;
        if (failure const refused = state_->rearm()) posix::fail(refused);
    }

    // Questions of `provides` and of the members above.
    template <feature Wanted>
    static constexpr bool has() {
        return state_type::template has<Wanted>();
    }
    template <class Reaction>
    static constexpr bool contains() {
        return state_type::template contains<Reaction>();
    }

  private:
    template <class Self, feature Wanted>
    auto& shared() const noexcept {
        if constexpr (Self::template has<Wanted>())
            return state_->template shared<Wanted>();
        else
            return *this;  // a refusal has been printed already
    }

    failure open(Rows&&... rows) noexcept {
        // what could not be installed is kept, so that the members of an empty guard have something to ask
        state_ = ::new (std::nothrow_t{}) state_type{detail::split_rows(detail::moved(rows)...)};
        if (state_ == nullptr) return {ENOMEM, "operator new", 0};
        failure refused;
        if constexpr (state_type::all_in_handler)
            refused = state_->install();
        else
            refused = state_->open(pending_, fed_, resting_);
        installed_ = !refused;
        return refused;
    }

    void end() noexcept {
        if constexpr (state_type::all_in_handler)
            delete state_;
        else if (state_ != nullptr)
            state_type::release(state_);
    }

    using state_type = detail::state_for<Rows...>;

    in_signal::atomic<std::uint64_t> pending_;
    in_signal::atomic<std::uint32_t> fed_[state_type::feed_words];
    in_signal::atomic<std::uint32_t> resting_;
    state_type* state_ = nullptr;
    bool installed_ = false;
};

// What stands for a guard that has been refused, so that nothing follows the sentence that says why.
template <>
class guard<detail::refused> {
  public:
    template <class... Arguments>
    explicit guard(Arguments&&...) {
        constexpr bool rows = ((detail::is_row<Arguments> || detail::is_refused<Arguments>)&&...);
        static_assert(rows, "tocsin: a guard takes rows: on<SIG...>(reaction), on_crash(reaction), "
                            "watchdog(d)(reaction)");
    }
    template <class ErrorCode, class... Arguments>
        requires detail::takes_errno<ErrorCode>
    explicit guard(ErrorCode&, Arguments&&... arguments)
        : guard{static_cast<Arguments&&>(arguments)...} {}
};

template <class... Arguments>
    requires(!detail::is_row<Arguments> || ...)
guard(Arguments...) -> guard<detail::refused>;
template <class ErrorCode, class... Arguments>
    requires(!detail::is_row<detail::plain<ErrorCode>> &&
             (!detail::takes_errno<ErrorCode> || (!detail::is_row<Arguments> || ...)))
guard(ErrorCode&, Arguments...) -> guard<detail::refused>;
// A row with a name of its own is no error code. (Clang 14 forgets here what the constructor requires.)
template <class First, class... Rest>
    requires(detail::is_row<detail::plain<First>> && (detail::is_row<Rest> && ...))
guard(First&, Rest...) -> guard<detail::plain<First>, Rest...>;

// Answers in concepts and conditions: provides<decltype(signals), wake>.
template <class Guard, auto Reaction>
concept provides = Guard::template contains<detail::plain<decltype(Reaction)>>();

}  // namespace tocsin
