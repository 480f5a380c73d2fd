// SPDX-License-Identifier: MIT
// What dump_later has been asked for: the words, the descriptor that was opened for them, and the title.
//
// Runs on any ordinary thread.
#pragma once

#include <errno.h>

#include <tocsin/in_signal/report.hpp>
#include <tocsin/in_signal/report_target.hpp>

namespace tocsin::posix {

// What is asked for, and where it goes: to a new file at `path`, or to `fd`.
struct later_words {
    std::uint64_t microseconds = 0;
    bool repeated = false;
    bool exiting = false;
    bool this_thread_only = false;
    in_signal::report_writer writer = nullptr;
    int fd = 2;
    char const* path = nullptr;
};

// What has been asked for. Counted: by the one who asked, and by the helper while it writes.
struct later_order : later_words {
    in_signal::report_target target;
    in_signal::atomic<std::uint32_t> references{1};
    bool recognised = false;  // the duplicate was made for an arming before this one

    void close() noexcept {
        close(target.out);
        close(target.directory);
    }
    void release() noexcept {
        if (references.fetch_sub(1) != 1) return;
        close();
        delete this;
    }

  private:
    static void close(in_signal::kept_descriptor& kept) noexcept {
        if (kept.is_same()) in_signal::close(kept.fd);
        kept.fd = -1;
    }
};

// As CPython's faulthandler has it: hours, minutes of two digits, seconds of two digits, and microseconds if any.
inline void append_timeout(in_signal::line& to, std::uint64_t microseconds) noexcept {
    std::uint64_t const seconds = microseconds / 1'000'000;
    auto const padded = [&to](std::uint64_t value, std::uint64_t from) noexcept {
        for (; from != 0; from /= 10) to.character(static_cast<char>('0' + value / from % 10));
    };
    to.text("Timeout (").decimal(seconds / 3600).character(':');
    padded(seconds / 60 % 60, 10);
    to.character(':');
    padded(seconds % 60, 10);
    if (microseconds % 1'000'000 != 0) {
        to.character('.');
        padded(microseconds % 1'000'000, 100'000);
    }
    to.text(")!");
}

namespace detail {

// Whether both numbers are one open file: fcntl(2), F_DUPFD_QUERY, since Linux 6.10; before that kcmp(2), which a
// filter may refuse. False where nobody tells.
inline bool is_same_open_file(int one, int other, std::int32_t process) noexcept {
    constexpr long query = 1027;
    constexpr long compare_files = 0;
    long const told = in_signal::system_call(SYS_fcntl, one, query, other);
    if (told != -EINVAL) return told == 1;
    return in_signal::system_call(SYS_kcmp, process, process, compare_files, one, other) == 0;
}

// A program that closes every number it finds may have closed the duplicate before this arming, and have given its
// number to what it has armed it for now. Then the two still are one.
inline int open_later_report(later_order const& order) noexcept {
    int const fd = in_signal::open_report(order.target);
    int const kept = order.target.out.fd;
    bool const replaced = fd < 0 && order.recognised && is_same_open_file(order.fd, kept, in_signal::getpid());
    return replaced ? kept : fd;
}

}  // namespace detail

}  // namespace tocsin::posix
