// SPDX-License-Identifier: MIT
// Timers of the process's own making: one that signals (timer_create), and one that a loop polls (timerfd_create).
//
// Runs on any ordinary thread. Both belong to the process that started them. A forked child inherits no POSIX timers
// (POSIX, fork), and its own ones get the same numbers; it does inherit the descriptor, which is the parent's timer.
// So neither is touched in a child, until that starts one of its own.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>

#include <tocsin/duration.hpp>
#include <tocsin/failure.hpp>
#include <tocsin/in_signal/system.hpp>

namespace tocsin::posix {

inline constexpr std::uint64_t nanoseconds_a_second = 1'000'000'000;

inline timespec to_timespec(std::uint64_t nanoseconds) noexcept {
    timespec made{};
    made.tv_sec = static_cast<time_t>(nanoseconds / nanoseconds_a_second);
    made.tv_nsec = static_cast<decltype(made.tv_nsec)>(nanoseconds % nanoseconds_a_second);
    return made;
}

inline time_left to_time_left(timespec const& of) noexcept {
    constexpr auto second = static_cast<std::int64_t>(nanoseconds_a_second);
    return time_left{static_cast<std::int64_t>(of.tv_sec) * second + of.tv_nsec};
}

// Whom a timer signals: the process if `thread` is 0.
struct timer_signal {
    int signal = 0;
    sigval value{};
    pid_t thread = 0;
    clockid_t clock = CLOCK_MONOTONIC;

    sigevent native() const noexcept {
        sigevent event;
        __builtin_memset(&event, 0, sizeof event);
        event.sigev_signo = signal;
        event.sigev_value = value;
        event.sigev_notify = thread == 0 ? SIGEV_SIGNAL : SIGEV_THREAD_ID;
        // glibc gives the field's name in its manual, but not in its header before 2.41
#if defined(sigev_notify_thread_id)
        event.sigev_notify_thread_id = thread;
#else
        event._sigev_un._tid = thread;
#endif
        return event;
    }
};

class signal_timer {
  public:
    constexpr signal_timer() noexcept = default;
    ~signal_timer() { close(); }
    signal_timer(signal_timer const&) = delete;
    signal_timer& operator=(signal_timer const&) = delete;

    failure open(timer_signal const& to) noexcept {
        to_ = to;
        sigevent event = to.native();
        if (::timer_create(to.clock, &event, &id_) != 0) return {errno, "timer_create", to.signal};
        process_ = in_signal::getpid();
        return {};
    }

    void close() noexcept {
        if (is_mine()) ::timer_delete(id_);
        process_ = 0;
    }

    bool opened() const noexcept { return process_ != 0; }

    failure start(std::uint64_t value, std::uint64_t interval) noexcept {
        if (!opened()) return {EINVAL, "timer_settime", 0};
        if (!is_mine())
            if (failure const refused = open(to_)) return refused;
        itimerspec const wanted{to_timespec(interval), to_timespec(value)};
        return ::timer_settime(id_, 0, &wanted, nullptr) != 0 ? failure{errno, "timer_settime", 0}
                                                              : failure{};
    }

    void stop() noexcept {
        itimerspec const none{};
        if (is_mine()) ::timer_settime(id_, 0, &none, nullptr);
    }

    itimerspec now() const noexcept {
        itimerspec found{};
        if (is_mine()) ::timer_gettime(id_, &found);
        return found;
    }

    int overrun() const noexcept {
        int const count = is_mine() ? ::timer_getoverrun(id_) : 0;
        return count > 0 ? count : 0;
    }

  private:
    bool is_mine() const noexcept { return opened() && process_ == in_signal::getpid(); }

    timer_signal to_;
    timer_t id_{};
    std::int32_t process_ = 0;
};

class timer_file {
  public:
    constexpr timer_file() noexcept = default;
    ~timer_file() { close(); }
    timer_file(timer_file const&) = delete;
    timer_file& operator=(timer_file const&) = delete;

    failure open(clockid_t clock) noexcept {
        fd_ = ::timerfd_create(clock, TFD_CLOEXEC | TFD_NONBLOCK);
        if (fd_ < 0) return {errno, "timerfd_create", 0};
        clock_ = clock;
        process_ = in_signal::getpid();
        return {};
    }

    void close() noexcept {
        if (opened()) ::close(fd_);
        fd_ = -1;
    }

    bool opened() const noexcept { return fd_ >= 0; }
    int fd() const noexcept { return fd_; }

    failure start(std::uint64_t value, std::uint64_t interval) noexcept {
        if (!opened()) return {EINVAL, "timerfd_settime", 0};
        if (!is_mine())
            if (failure const refused = replace()) return refused;
        itimerspec const wanted{to_timespec(interval), to_timespec(value)};
        return ::timerfd_settime(fd_, 0, &wanted, nullptr) != 0 ? failure{errno, "timerfd_settime", 0}
                                                                : failure{};
    }

    void stop() noexcept {
        itimerspec const none{};
        if (is_mine()) ::timerfd_settime(fd_, 0, &none, nullptr);
    }

    itimerspec now() const noexcept {
        itimerspec found{};
        if (is_mine()) ::timerfd_gettime(fd_, &found);
        return found;
    }

    std::uint64_t take() noexcept {
        if (!is_mine()) return 0;
        for (;;) {
            std::uint64_t count = 0;
            if (::read(fd_, &count, sizeof count) == static_cast<ssize_t>(sizeof count)) return count;
            if (errno != EINTR) return 0;  // EAGAIN: none
        }
    }

  private:
    bool is_mine() const noexcept { return opened() && process_ == in_signal::getpid(); }

    // Gives a forked child a timer of its own under the same number.
    failure replace() noexcept {
        int const fresh = ::timerfd_create(clock_, TFD_CLOEXEC | TFD_NONBLOCK);
        if (fresh < 0) return {errno, "timerfd_create", 0};
        if (fresh != fd_) {  // equal if the child had closed it
            int const result = ::dup3(fresh, fd_, O_CLOEXEC);
            int const reason = errno;
            ::close(fresh);
            if (result < 0) return {reason, "dup3", 0};
        }
        process_ = in_signal::getpid();
        return {};
    }

    int fd_ = -1;
    clockid_t clock_ = CLOCK_MONOTONIC;
    std::int32_t process_ = 0;
};

}  // namespace tocsin::posix
