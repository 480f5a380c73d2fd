// SPDX-License-Identifier: MIT
// Where a report goes: a descriptor of our own, or a file that is made for it.
//
// Runs in the handler. A file is created, never opened: it does not follow a symbolic link, truncate what is there or
// wait for a reader, and only its owner may read it. Where it cannot be created, the report goes to standard error.
#pragma once

#include <errno.h>

#include <tocsin/in_signal/format.hpp>
#include <tocsin/in_signal/system.hpp>

namespace tocsin::in_signal {

inline constexpr std::size_t longest_file_name = 200;

// A descriptor and what it was opened for. A program that closes every number it finds closes ours too, and then
// opens something else under it; a file system may give that the inode of a file that is gone, so the time at which the
// file was made counts too.
struct kept_descriptor {
    int fd = -1;
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    // 0 of what was not told: the file system may not know, a filter may refuse to answer
    std::uint64_t access = 0;  // how it may be used, and 1
    std::uint64_t type = 0;
    std::uint64_t born = 0;

    // False if its identity cannot be read: then it is not kept.
    bool keep(int opened) noexcept {
        if (identify(opened, *this) != 0) return false;
        fd = opened;
        return true;
    }
    // Where a filter has been put up since that refuses the question, it is taken for the same.
    bool is_same() const noexcept {
        if (fd < 0) return false;
        kept_descriptor now;
        long const answer = identify(fd, now);
        if (answer == -EPERM || answer == -ENOSYS) return true;
        return answer == 0 && now.device == device && now.inode == inode && agree(now.access, access) &&
               agree(now.type, type) && agree(now.born, born);
    }

  private:
    static bool agree(std::uint64_t one, std::uint64_t other) noexcept {
        return one == 0 || other == 0 || one == other;
    }

    // struct stat begins with the device and the inode, of 8 bytes each, on both architectures
    // (include/uapi/asm-generic/stat.h, arch/x86/include/uapi/asm/stat.h).
    static long identify(int of, kept_descriptor& to) noexcept {
        std::uint64_t words[32]{};
        long const answer = system_call(SYS_fstat, of, as_word(words));
        if (answer != 0) return answer;
        to.device = words[0];
        to.inode = words[1];
        long const flags = system_call(SYS_fcntl, of, F_GETFL);
        to.access = flags >= 0 ? static_cast<std::uint64_t>(flags & O_ACCMODE) + 1 : 0;
        birth(of, to);
        return 0;
    }

    // statx(2), whose structure is the same on all architectures: the mask of what is told at 0, the mode at 28, the
    // time of birth at 80.
    static void birth(int of, kept_descriptor& to) noexcept {
        constexpr long empty_path = 0x1000;  // AT_EMPTY_PATH
        constexpr std::uint32_t wanted = 0x801;  // STATX_TYPE | STATX_BTIME
        alignas(8) unsigned char told[256]{};
        if (system_call(SYS_statx, of, as_word(""), empty_path, wanted, as_word(told)) != 0) return;
        std::uint32_t mask = 0;
        std::uint16_t mode = 0;
        std::int64_t seconds = 0;
        std::uint32_t nanoseconds = 0;
        __builtin_memcpy(&mask, told, sizeof mask);
        __builtin_memcpy(&mode, told + 28, sizeof mode);
        __builtin_memcpy(&seconds, told + 80, sizeof seconds);
        __builtin_memcpy(&nanoseconds, told + 88, sizeof nanoseconds);
        to.type = mode & 0170000U;
        if ((mask & 0x800U) != 0) to.born = static_cast<std::uint64_t>(seconds) * 1'000'000'000U + nanoseconds;
    }
};

// Numbers that are given back when none is left, so that a report can still open what it reads.
class reserved_descriptors {
  public:
    // Best effort: where they cannot be had now, none is left already.
    void open() noexcept {
        for (kept_descriptor& each : held_) {
            int const opened = openat(AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC);
            if (opened >= 0 && !each.keep(opened)) in_signal::close(opened);
        }
    }
    void close() noexcept {
        for (kept_descriptor& each : held_) {
            if (each.is_same()) in_signal::close(each.fd);
            each.fd = -1;
        }
    }
    // True if they had to be given back.
    bool give_back_if_needed() noexcept {
        int const probe = openat(AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC);
        if (probe >= 0) in_signal::close(probe);
        if (probe != -EMFILE && probe != -ENFILE) return false;
        close();
        return true;
    }

  private:
    kept_descriptor held_[4];
};

struct report_target {
    kept_descriptor out;        // a duplicate: what the program closes or reopens does not matter
    kept_descriptor directory;  // of the file, opened when the guard was made; none for a report to `out`
    char file[longest_file_name + 1] = {};  // its name, with {pid} and {time} to be filled in
    void const* writer = nullptr;           // stands for the form of the report
    reserved_descriptors reserve;

    // True if a report here would say the same in the same place.
    bool same_as(report_target const& other) const noexcept {
        return directory.fd < 0 && other.directory.fd < 0 && writer == other.writer &&
               out.device == other.out.device && out.inode == other.out.inode;
    }

    int usable_fd() const noexcept { return out.is_same() ? out.fd : -1; }
};

// Seconds since the epoch as 20260131T235959Z. From days to a date by counting 400-year cycles from March 1.
inline void append_time(line& to, std::uint64_t seconds) noexcept {
    std::uint64_t const days = seconds / 86400 + 719468;
    std::uint64_t const cycle = days / 146097;
    std::uint64_t const day_of_cycle = days % 146097;
    std::uint64_t const year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36524 - day_of_cycle / 146096) / 365;
    std::uint64_t const day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    std::uint64_t const from_march = (5 * day_of_year + 2) / 153;
    std::uint64_t const month = from_march < 10 ? from_march + 3 : from_march - 9;
    std::uint64_t const year = cycle * 400 + year_of_cycle + (month <= 2 ? 1 : 0);
    auto const two = [&to](std::uint64_t value) noexcept {
        to.character(hex_digit(value / 10)).character(hex_digit(value % 10));
    };
    to.decimal(year);
    two(month);
    two(day_of_year - (153 * from_march + 2) / 5 + 1);
    to.character('T');
    two(seconds / 3600 % 24);
    two(seconds / 60 % 60);
    two(seconds % 60);
    to.character('Z');
}

// True if `text` begins with `word`, and then moves behind it.
inline bool skip_word(char const*& text, char const* word) noexcept {
    std::size_t const size = length_of(word);
    for (std::size_t i = 0; i < size; ++i)
        if (text[i] != word[i]) return false;
    text += size;
    return true;
}

// Writes the name with its placeholders filled in; `attempt` other than 0 makes it another one.
inline void append_file_name(line& to, char const* pattern, int attempt) noexcept {
    timespec now{};
    system_call(SYS_clock_gettime, CLOCK_REALTIME, as_word(&now));
    while (*pattern != '\0') {
        if (skip_word(pattern, "{pid}"))
            to.decimal(getpid());
        else if (skip_word(pattern, "{time}"))
            append_time(to, static_cast<std::uint64_t>(now.tv_sec));
        else
            to.character(*pattern++);
    }
    if (attempt != 0) to.character('.').decimal(attempt);
}

// A descriptor for one report; `close_report` gives it back.
inline int open_report(report_target const& target) noexcept {
    if (!target.directory.is_same()) return target.usable_fd();
    for (int attempt = 0; attempt < 100; ++attempt) {
        fixed_line<longest_file_name + 64> path;
        append_file_name(path, target.file, attempt);
        path.character('\0');
        if (path.cut()) break;
        int const fd = openat(target.directory.fd, path.data(),
                              O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600);
        if (fd >= 0) return fd;
        if (fd != -EEXIST) break;
    }
    return target.usable_fd();
}

inline void close_report(report_target const& target, int fd) noexcept {
    if (fd >= 0 && fd != target.out.fd) close(fd);
}

}  // namespace tocsin::in_signal
