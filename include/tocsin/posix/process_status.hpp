// SPDX-License-Identifier: MIT
// Signal sets that the kernel only tells in /proc (proc(5), /proc/pid/status).
//
// Runs on any ordinary thread.
#pragma once

#include <errno.h>
#include <fcntl.h>

#include <cstddef>
#include <cstdint>

#include <tocsin/failure.hpp>
#include <tocsin/in_signal/system.hpp>

namespace tocsin::posix {

// One field to look for, such as "SigPnd:", and its mask: signal 1 is the lowest bit.
struct status_mask {
    char const* field;
    std::uint64_t mask = 0;
    bool found = false;
};

namespace detail {

// Fields come one to a line. What a line may hold has no bound (Groups), but the masks are short.
class status_lines {
  public:
    status_lines(status_mask* wanted, std::size_t count) noexcept : wanted_{wanted}, count_{count} {}

    void take(char const* bytes, std::size_t size) noexcept {
        for (std::size_t i = 0; i < size; ++i) {
            if (bytes[i] == '\n') {
                end_line();
                size_ = 0;
            } else if (size_ < sizeof line_) {
                line_[size_++] = bytes[i];
            }
        }
    }

  private:
    void end_line() noexcept {
        for (std::size_t i = 0; i < count_; ++i) {
            std::size_t const name = __builtin_strlen(wanted_[i].field);
            if (size_ < name || __builtin_memcmp(line_, wanted_[i].field, name) != 0) continue;
            wanted_[i].mask = hexadecimal(name);
            wanted_[i].found = true;
        }
    }

    std::uint64_t hexadecimal(std::size_t from) const noexcept {
        std::uint64_t number = 0;
        for (std::size_t i = from; i < size_; ++i) {
            char const c = line_[i];
            if (c >= '0' && c <= '9') number = number << 4 | static_cast<std::uint64_t>(c - '0');
            if (c >= 'a' && c <= 'f') number = number << 4 | static_cast<std::uint64_t>(c - 'a' + 10);
        }
        return number;
    }

    status_mask* wanted_;
    std::size_t count_;
    char line_[64]{};
    std::size_t size_ = 0;
};

}  // namespace detail

// Fills in the masks from a status file. Fails with the errno of open or read where there is no /proc, or
// with ENODATA where a field is missing.
inline failure read_status(char const* path, status_mask* wanted, std::size_t count) noexcept {
    int const fd = in_signal::openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return {-fd, path, 0};
    detail::status_lines lines{wanted, count};
    char buffer[1024];
    long got = 0;
    while ((got = in_signal::read(fd, buffer, sizeof buffer)) > 0 || got == -EINTR)
        if (got > 0) lines.take(buffer, static_cast<std::size_t>(got));
    in_signal::close(fd);
    if (got < 0) return {static_cast<int>(-got), path, 0};
    for (std::size_t i = 0; i < count; ++i)
        if (!wanted[i].found) return {ENODATA, path, 0};
    return {};
}

}  // namespace tocsin::posix
