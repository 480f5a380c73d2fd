// SPDX-License-Identifier: MIT
// Descriptors that mean one process or thread, and never a later one with its number.
//
// Runs on any ordinary thread. pidfd_open(2) is in Linux since 5.3; of threads, and the choice whom a signal
// is for, since 6.9. By system call numbers and flags of the kernel's interface, because older headers have
// neither.
#pragma once

#include <fcntl.h>
#include <signal.h>

#include <tocsin/in_signal/system.hpp>

namespace tocsin::posix {

inline constexpr int pidfd_thread = O_EXCL;        // PIDFD_THREAD (linux/pidfd.h)
inline constexpr int pidfd_signal_group = 1 << 2;  // PIDFD_SIGNAL_PROCESS_GROUP

// A descriptor that is closed by exec, or a negated errno.
inline int open_pidfd(int id, int flags) noexcept {
    constexpr long number = 434;  // the same on all architectures
    return static_cast<int>(in_signal::system_call(number, id, flags));
}

// The errno; 0 for success. Without `info` the signal comes as from kill(2).
inline int send_to_pidfd(int fd, int signal, siginfo_t const* info, int flags = 0) noexcept {
    constexpr long number = 424;
    return -static_cast<int>(in_signal::system_call(number, fd, signal, in_signal::as_word(info), flags));
}

// Owns a descriptor; moves.
class pidfd {
  public:
    constexpr pidfd() noexcept = default;
    constexpr explicit pidfd(int fd) noexcept : fd_{fd} {}
    ~pidfd() { close(); }
    pidfd(pidfd&& other) noexcept : fd_{other.release()} {}
    pidfd& operator=(pidfd&& other) noexcept {
        if (this == &other) return *this;
        close();
        fd_ = other.release();
        return *this;
    }

    int fd() const noexcept { return fd_; }
    int release() noexcept {
        int const fd = fd_;
        fd_ = -1;
        return fd;
    }

  private:
    void close() noexcept {
        if (fd_ >= 0) in_signal::close(fd_);
    }

    int fd_ = -1;
};

}  // namespace tocsin::posix
