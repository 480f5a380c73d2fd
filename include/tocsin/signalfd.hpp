// SPDX-License-Identifier: MIT
// `signal_descriptor<SIGUSR1, rt<3>> signals;`: signals that are read from a descriptor (signalfd(2)) instead of being
// delivered, with the mask that this needs in the same object.
//
// Runs on any ordinary thread: the one that builds it takes the signals, and ends it. No handler is called, and no
// disposition changed. The signals are blocked in this thread, and in those that it starts meanwhile. A thread with one
// of them open has it delivered instead, before or instead of the descriptor: build it before other threads start, and
// ask threads_with_it_open() in a test. A program that cannot be sure of its threads is better off with `wake`.
//
//     signal_descriptor<SIGHUP, rt<3>> signals;          // the signals are constants
//     signal_descriptor signals{some_set};               // known at run time
//     poll(signals.fd()); for (waited_signal const& s : signals.take()) s.signal(), s.pid(), s.value();
//
// What was there before is back at its end: a signal that nobody took is delivered then. It reads what is pending for
// the reading thread and for the process, not what other threads were sent themselves.
#pragma once

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <tocsin/error.hpp>
#include <tocsin/on.hpp>
#include <tocsin/posix/duration_refusal.hpp>
#include <tocsin/posix/mask.hpp>
#include <tocsin/posix/process_status.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/posix/waiting.hpp>
#include <tocsin/signal_set.hpp>
#include <tocsin/waited_signal.hpp>

namespace tocsin {

namespace detail {

// As rt_sigtimedwait(2) would have given it. The kernel fills in what belongs to the code and leaves the rest zero
// (fs/signalfd.c, signalfd_copyinfo).
inline siginfo_t to_siginfo(signalfd_siginfo const& from) noexcept {
    siginfo_t info;
    ::memset(&info, 0, sizeof info);
    info.si_signo = static_cast<int>(from.ssi_signo);
    info.si_errno = from.ssi_errno;
    info.si_code = from.ssi_code;
    bool const from_descriptor = from.ssi_code >= POLL_IN && from.ssi_code <= POLL_HUP &&
                                 (info.si_signo == SIGIO || info.si_signo > standard_signals);
    if (from.ssi_code == SI_TIMER) {
        info.si_timerid = static_cast<int>(from.ssi_tid);
        info.si_overrun = static_cast<int>(from.ssi_overrun);
    } else if (from_descriptor) {
        info.si_band = static_cast<long>(from.ssi_band);
        info.si_fd = from.ssi_fd;
        return info;
    } else {
        info.si_pid = static_cast<pid_t>(from.ssi_pid);
        info.si_uid = from.ssi_uid;
    }
    if (info.si_signo == SIGCHLD && from.ssi_code > 0) {
        info.si_status = from.ssi_status;
        info.si_utime = static_cast<clock_t>(from.ssi_utime);
        info.si_stime = static_cast<clock_t>(from.ssi_stime);
    } else if (from.ssi_code != SI_USER && from.ssi_code != SI_TKILL) {
        info.si_value.sival_ptr = reinterpret_cast<void*>(static_cast<std::uintptr_t>(from.ssi_ptr));
    }
    return info;
}

// One signal, if there is one.
inline maybe_signal read_signal(int fd) noexcept {
    signalfd_siginfo got;
    ssize_t size;
    do {
        size = ::read(fd, &got, sizeof got);
    } while (size < 0 && errno == EINTR);
    return size == static_cast<ssize_t>(sizeof got) ? maybe_signal{to_siginfo(got)} : maybe_signal{};
}

// Calls visit(thread, signals) for each thread of the process, with those of the set that it does not block. What has
// ended meanwhile is left out.
template <class Visit>
failure each_thread_with_open(signal_set of, Visit&& visit) {
    DIR* const tasks = ::opendir("/proc/self/task");
    if (tasks == nullptr) return {errno, "/proc/self/task", 0};
    while (dirent const* const entry = ::readdir(tasks)) {
        int const thread = ::atoi(entry->d_name);
        if (thread == 0) continue;
        char path[48];
        __builtin_snprintf(path, sizeof path, "/proc/self/task/%d/status", thread);
        posix::status_mask blocked{"SigBlk:"};
        if (posix::read_status(path, &blocked, 1)) continue;
        signal_set const open = of - signal_set::of_bits(blocked.mask);
        if (!open.empty()) visit(thread, open);
    }
    ::closedir(tasks);
    return {};
}

}  // namespace detail

// What is there: a single-pass range that takes each signal out as it is walked. It ends when nothing is pending, and
// after `most` signals, so that a flood cannot hold the loop; the rest keeps the descriptor readable.
class readable_signals {
  public:
    static constexpr int most = 1024;

    explicit readable_signals(int fd) noexcept : fd_{fd} {}

    struct end_of_signals {};
    class iterator {
      public:
        explicit iterator(readable_signals& range) noexcept : range_{&range} {}
        waited_signal const& operator*() const noexcept { return *range_->now_; }
        waited_signal const* operator->() const noexcept { return &*range_->now_; }
        iterator& operator++() noexcept {
            range_->advance();
            return *this;
        }
        void operator++(int) noexcept { range_->advance(); }
        bool operator==(end_of_signals) const noexcept { return !range_->now_; }

      private:
        readable_signals* range_;
    };

    iterator begin() noexcept {
        advance();
        return iterator{*this};
    }
    static end_of_signals end() noexcept { return {}; }

  private:
    void advance() noexcept { now_ = fd_ >= 0 && left_-- > 0 ? detail::read_signal(fd_) : maybe_signal{}; }

    int fd_;
    int left_ = most;
    maybe_signal now_;
};

namespace detail {

// The mask and the descriptor of a set.
class signal_reader {
  public:
    signal_reader(signal_reader const&) = delete;
    signal_reader& operator=(signal_reader const&) = delete;

    // Readable when a signal of the set is pending. Only poll it.
    int fd() const noexcept { return fd_; }
    signal_set signals() const noexcept { return set_; }

    // What is pending. Of several signals the lowest number comes first, real-time ones in the order in which they were
    // sent (signal(7)). In a forked child nothing before rearm().
    readable_signals take() const noexcept { return readable_signals{at_home() ? fd_ : -1}; }

    // How many threads of the process have one of the signals open, so that the descriptor may never see it. Throws
    // tocsin::error where there is no /proc.
    unsigned threads_with_it_open() const {
        unsigned count = 0;
        failure const refused = each_thread_with_open(set_, [&](int, signal_set) { ++count; });
        if (refused) posix::fail(refused);
        return count;
    }

    // The same, with a line to `fd` for each of these threads.
    unsigned warn_of_open_threads(int fd = STDERR_FILENO) const {
        unsigned count = 0;
        failure const refused = each_thread_with_open(set_, [&](int thread, signal_set open) {
            ++count;
            char line[160];
            int const size = __builtin_snprintf(line, sizeof line,
                                                "tocsin: thread %d has %s open: it may be delivered there and never "
                                                "be readable here\n",
                                                thread, name(*open.begin()).c_str());
            in_signal::write(fd, line, static_cast<std::size_t>(size));
        });
        if (refused) posix::fail(refused);
        return count;
    }

    // In a forked child: a descriptor of its own under the same number. The inherited one is readable by the parent's
    // signals where an epoll instance of the parent has it. Nothing is pending in a new child (fork(2)). Throws
    // tocsin::error if the system refuses; in the process that built it, it does nothing.
    void rearm() {
        if (at_home()) return;
        int const fresh = ::signalfd(-1, &native_, SFD_CLOEXEC | SFD_NONBLOCK);
        if (fresh < 0) posix::fail({errno, "signalfd", 0});
        if (fresh != fd_) {  // it is, where the child has closed it
            int const result = ::dup3(fresh, fd_, O_CLOEXEC);
            int const reason = errno;
            ::close(fresh);
            if (result < 0) posix::fail({reason, "dup3", 0});
        }
        process_ = ::getpid();
    }

  protected:
    explicit signal_reader(signal_set set)
        : set_{set}, native_{set.native()}, mask_{made_of(set)}, process_{::getpid()} {
        if (failure const refused = mask_.refused()) posix::fail(refused);
        fd_ = ::signalfd(-1, &native_, SFD_CLOEXEC | SFD_NONBLOCK);
        if (fd_ < 0) posix::fail({errno, "signalfd", 0});
    }
    ~signal_reader() {
        if (fd_ >= 0) ::close(fd_);
    }

  private:
    static posix::mask made_of(signal_set set) noexcept {
        failure refused = posix::waiting_refusal(set, "signal_descriptor", "signal_descriptor(empty set)");
        signal_set const never = set - blockable_signals;
        if (!refused && !never.empty()) refused = {EINVAL, "signal_descriptor", *never.begin()};
        return refused ? posix::mask{refused} : posix::mask{posix::to_signals_in(set)};
    }
    bool at_home() const noexcept { return process_ == ::getpid(); }

    signal_set set_;
    sigset_t native_;
    posix::mask mask_;
    pid_t process_;
    int fd_ = -1;
};

}  // namespace detail

// Blocks the signals in this thread and makes fd() readable when one is pending. Throws tocsin::error (EINVAL) for a
// real-time signal that this system does not have; EMFILE.
template <auto... Signals>
class [[nodiscard]] signal_descriptor : public detail::signal_reader {
    using checked = decltype(detail::check_signals<Signals...>());

  public:
    signal_descriptor() : detail::signal_reader{signal_set{Signals...}} {
        constexpr bool no_fault = (!detail::names_a_fault<Signals>() && ...);
        static_assert(no_fault,
                      "tocsin: a fault does not wait to be read, it ends the process while its signal is blocked; use "
                      "on_crash");
    }
};

// The same of a set that is known at run time: signal_descriptor signals{set}. Throws tocsin::error (EINVAL) for an
// empty set, and one that names the first member that is no signal, SIGKILL, SIGSTOP or a fault.
template <>
class [[nodiscard]] signal_descriptor<> : public detail::signal_reader {
  public:
    explicit signal_descriptor(signal_set signals) : detail::signal_reader{signals} {}
};

signal_descriptor(signal_set) -> signal_descriptor<>;

}  // namespace tocsin
