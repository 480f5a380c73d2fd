// SPDX-License-Identifier: MIT
// The descriptor that a handler writes and a loop polls.
//
// Runs on any ordinary thread. An eventfd: one descriptor, eight bytes, never full.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

#include <tocsin/failure.hpp>

namespace tocsin::posix {

class wakeup {
  public:
    wakeup() noexcept = default;
    ~wakeup() { close(); }
    wakeup(wakeup const&) = delete;
    wakeup& operator=(wakeup const&) = delete;

    failure open() noexcept {
        fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        return fd_ < 0 ? failure{errno, "eventfd", 0} : failure{};
    }

    // Gives a forked child an eventfd of its own under the same number; the inherited one is the parent's too.
    failure replace() noexcept {
        int const fresh = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fresh < 0) return {errno, "eventfd", 0};
        if (fresh == fd_) return {};  // the child had closed it
        int const result = ::dup3(fresh, fd_, O_CLOEXEC);
        int const reason = errno;
        ::close(fresh);
        return result < 0 ? failure{reason, "dup3", 0} : failure{};
    }

    void close() noexcept {
        if (fd_ >= 0) ::close(fd_);
        fd_ = -1;
    }

    // Makes the descriptor unreadable again.
    void drain() const noexcept {
        std::uint64_t count;
        while (::read(fd_, &count, sizeof count) < 0 && errno == EINTR) {
        }
    }

    int fd() const noexcept { return fd_; }

  private:
    int fd_ = -1;
};

}  // namespace tocsin::posix
