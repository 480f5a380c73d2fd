// SPDX-License-Identifier: MIT
// `timer tick{SIGUSR1, 10ms, 10ms};` and `timer_descriptor ticks{10ms, 10ms};`: any number of timers, in nanoseconds.
//
// Runs on any ordinary thread. Time is CLOCK_MONOTONIC unless another clock is named: CLOCK_BOOTTIME counts the
// machine's suspension in, CLOCK_REALTIME is what date(1) shows. Durations are rounded up. Each may be started again
// and stopped; none moves.
//
// In a forked child timers are disarmed (POSIX, fork), until start() makes one of the child's own; exec ends them.
#pragma once

#include <tocsin/duration.hpp>
#include <tocsin/error.hpp>
#include <tocsin/posix/duration_refusal.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/posix/timer.hpp>
#include <tocsin/signal.hpp>
#include <tocsin/traits.hpp>

namespace tocsin {

namespace detail {

struct signal_timer_words {
    [[gnu::visibility("hidden")]] static constexpr posix::duration_words value{
        "timer(negative value)", "timer(value of zero)", "timer(value not a number)",
        "timer(value over 292 years)"};
    [[gnu::visibility("hidden")]] static constexpr posix::duration_words interval{
        "timer(negative interval)", nullptr, "timer(interval not a number)",
        "timer(interval over 292 years)"};
};

struct timer_file_words {
    [[gnu::visibility("hidden")]] static constexpr posix::duration_words value{
        "timer_descriptor(negative value)", "timer_descriptor(value of zero)",
        "timer_descriptor(value not a number)", "timer_descriptor(value over 292 years)"};
    [[gnu::visibility("hidden")]] static constexpr posix::duration_words interval{
        "timer_descriptor(negative interval)", nullptr, "timer_descriptor(interval not a number)",
        "timer_descriptor(interval over 292 years)"};
};

// What both sorts of timer are.
template <class Mechanism, class Words>
class startable {
  public:
    startable(startable const&) = delete;
    startable& operator=(startable const&) = delete;

    // False if the timer could not be made.
    explicit operator bool() const noexcept { return timer_.opened(); }

    // Anew from now on. Throws as the constructors do; the timer is then as it was. In a forked child this makes the
    // child's own timer.
    template <duration Value>
    void start(Value const& value) {
        start(value, time_left{});
    }
    template <duration Value, duration Interval>
    void start(Value const& value, Interval const& interval) {
        if (failure const refused = set(value, interval)) posix::fail(refused);
    }

    // Reports into `ec` instead: 0 for success, else an errno.
    template <class ErrorCode, duration Value>
        requires detail::error_place<ErrorCode>
    void start(ErrorCode& ec, Value const& value) noexcept { ec = set(value, time_left{}).errno_code; }
    template <class ErrorCode, duration Value, duration Interval>
        requires detail::error_place<ErrorCode>
    void start(ErrorCode& ec, Value const& value, Interval const& interval) noexcept {
        ec = set(value, interval).errno_code;
    }

    void stop() noexcept { timer_.stop(); }

    // Until it expires next; 0 if it does not.
    time_left left() const noexcept { return posix::to_time_left(timer_.now().it_value); }
    // 0 if it expires once.
    time_left interval() const noexcept { return posix::to_time_left(timer_.now().it_interval); }

  protected:
    startable() noexcept = default;
    ~startable() = default;

    // `make` opens the mechanism; it is asked once the durations are known to be some.
    template <class Value, class Interval, class Make>
    failure open(Value const& value, Interval const& interval, Make make) noexcept {
        failure refused = check(value, interval);
        if (!refused) refused = make(timer_);
        if (!refused) refused = set(value, interval);
        if (refused) timer_.close();
        return refused;
    }

    Mechanism timer_;

  private:
    template <class Value, class Interval>
    static failure check(Value const& value, Interval const& interval) noexcept {
        failure const refused = posix::refusal(in_nanoseconds(value).is, Words::value);
        return refused ? refused : posix::refusal(in_nanoseconds(interval).is, Words::interval);
    }

    template <class Value, class Interval>
    failure set(Value const& value, Interval const& interval) noexcept {
        if (failure const refused = check(value, interval)) return refused;
        return timer_.start(in_nanoseconds(value).count, in_nanoseconds(interval).count);
    }

    template <class Length>
    static units in_nanoseconds(Length const& of) noexcept {
        return whole_units<posix::nanoseconds_a_second>(of);
    }
};

}  // namespace detail

// What a timer's signal carries: a number, or a pointer (siginfo's si_value).
class timer_value {
  public:
    constexpr timer_value() noexcept = default;
    constexpr timer_value(int number) noexcept : value_{} { value_.sival_int = number; }
    constexpr timer_value(void* pointer) noexcept : value_{} { value_.sival_ptr = pointer; }

    sigval const& native() const noexcept { return value_; }

  private:
    sigval value_{};
};

// timer{SIGUSR1, 10ms, {.value = 7, .thread = gettid(), .clock = CLOCK_BOOTTIME}}
struct timer_options {
    timer_value value{};
    pid_t thread = 0;  // of this process, by its gettid(2); 0: whichever thread has the signal open
    clockid_t clock = CLOCK_MONOTONIC;
};

// A signal once `value` has passed, and then every `interval` if one is given. While one of it is pending, further
// expirations send none; overrun() counts them. Signals of other timers do not merge with it if it is a real-time
// signal. A signal that was pending when the timer was stopped or destroyed may still come. If its thread has ended,
// the signal goes nowhere. Each timer takes a place in the kernel's queue of signals; where RLIMIT_SIGPENDING leaves
// none, the constructor answers EAGAIN, and a timer_descriptor still works.
class timer : public detail::startable<posix::signal_timer, detail::signal_timer_words> {
  public:
    // These throw tocsin::error: EINVAL for a value of zero, for either that is negative, NaN or more than 292 years,
    // and for a signal, thread or clock that there is not. Without exceptions they print the error and abort: use the
    // constructors below.
    template <detail::duration Value>
    [[nodiscard]] timer(int signal, Value const& value, timer_options const& options = {}) {
        if (failure const refused = make(signal, options, value, time_left{})) posix::fail(refused);
    }
    template <detail::duration Value, detail::duration Interval>
    [[nodiscard]] timer(int signal, Value const& value, Interval const& interval,
                        timer_options const& options = {}) {
        if (failure const refused = make(signal, options, value, interval)) posix::fail(refused);
    }

    // Reports into `ec` instead: 0 for success, else an errno. A timer that failed is empty and converts to false.
    template <class ErrorCode, detail::duration Value>
        requires detail::error_place<ErrorCode>
    [[nodiscard]] timer(ErrorCode& ec, int signal, Value const& value,
                        timer_options const& options = {}) noexcept {
        ec = make(signal, options, value, time_left{}).errno_code;
    }
    template <class ErrorCode, detail::duration Value, detail::duration Interval>
        requires detail::error_place<ErrorCode>
    [[nodiscard]] timer(ErrorCode& ec, int signal, Value const& value, Interval const& interval,
                        timer_options const& options = {}) noexcept {
        ec = make(signal, options, value, interval).errno_code;
    }

    // How many expirations the signal that was delivered last stands for besides its own. Callable in the handler.
    int overrun() const noexcept { return timer_.overrun(); }

  private:
    template <class Value, class Interval>
    failure make(int signal, timer_options const& options, Value const& value,
                 Interval const& interval) noexcept {
        return open(value, interval, [&](posix::signal_timer& in) noexcept -> failure {
            // between the standard and the real-time signals are those that libc keeps for its threads
            bool const of_libc = signal > detail::standard_signals && !can_be_caught(signal);
            if (of_libc) return {EINVAL, "timer", signal};
            return in.open({signal, options.value.native(), options.thread, options.clock});
        });
    }
};

// A descriptor that is readable once `value` has passed, and then every `interval` if one is given: for a loop that
// polls. No signal, no limit but that of descriptors; nonblocking, close-on-exec. A forked child inherits the
// descriptor, and take() answers 0 there; start() puts a timer of the child's own under the same number.
class timer_descriptor : public detail::startable<posix::timer_file, detail::timer_file_words> {
  public:
    // These throw tocsin::error: EINVAL for a value of zero, for either that is negative, NaN or more than 292 years,
    // and for a clock that there is not. Without exceptions they print the error and abort: use the constructors below.
    template <detail::duration Value>
    [[nodiscard]] explicit timer_descriptor(Value const& value, clockid_t clock = CLOCK_MONOTONIC) {
        if (failure const refused = make(clock, value, time_left{})) posix::fail(refused);
    }
    template <detail::duration Value, detail::duration Interval>
    [[nodiscard]] timer_descriptor(Value const& value, Interval const& interval,
                                   clockid_t clock = CLOCK_MONOTONIC) {
        if (failure const refused = make(clock, value, interval)) posix::fail(refused);
    }

    // Reports into `ec` instead: 0 for success, else an errno. A timer that failed is empty and converts to false.
    template <class ErrorCode, detail::duration Value>
        requires detail::error_place<ErrorCode>
    [[nodiscard]] timer_descriptor(ErrorCode& ec, Value const& value,
                                   clockid_t clock = CLOCK_MONOTONIC) noexcept {
        ec = make(clock, value, time_left{}).errno_code;
    }
    template <class ErrorCode, detail::duration Value, detail::duration Interval>
        requires detail::error_place<ErrorCode>
    [[nodiscard]] timer_descriptor(ErrorCode& ec, Value const& value, Interval const& interval,
                                   clockid_t clock = CLOCK_MONOTONIC) noexcept {
        ec = make(clock, value, interval).errno_code;
    }

    // Owned by this; only poll it. -1 if it is empty.
    int fd() const noexcept { return timer_.fd(); }
    // How often it has expired since the last take() or start(). Never waits.
    std::uint64_t take() noexcept { return timer_.take(); }

  private:
    template <class Value, class Interval>
    failure make(clockid_t clock, Value const& value, Interval const& interval) noexcept {
        return open(value, interval, [clock](posix::timer_file& in) noexcept { return in.open(clock); });
    }
};

}  // namespace tocsin
