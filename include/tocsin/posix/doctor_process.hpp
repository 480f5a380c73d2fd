// SPDX-License-Identifier: MIT
// The self-check's look at the process as a whole: its core, its limits, its place in the system.
//
// Runs on any ordinary thread. What it says holds for the moment; limits and the core's pattern can change.
#pragma once

#include <limits.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tocsin/libc_functions.hpp>
#include <tocsin/posix/doctor_lines.hpp>

namespace tocsin::posix {

inline constexpr std::uint64_t descriptors_wanted = 16;  // free ones; a report opens three at a time
inline constexpr std::uint64_t queued_wanted = 64;       // free places for queued signals

// Why no file can be made in this directory: an errno, or 0.
inline int cannot_create_in(int at, char const* directory) noexcept {
    struct stat found {};
    if (::fstatat(at, directory, &found, 0) != 0) return errno;
    if (found.st_nlink == 0) return ENOENT;  // removed, but still somebody's
    return ::faccessat(at, directory, W_OK | X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

namespace detail {

// The directory of a pattern, without its placeholders; false if it has one in its directory, or is too long.
inline bool directory_of(char const* pattern, char* to, std::size_t capacity) noexcept {
    std::size_t last = 0;
    for (std::size_t i = 0; pattern[i] != '\0'; ++i)
        if (pattern[i] == '/') last = i;
    if (last >= capacity) return false;
    for (std::size_t i = 0; i < last; ++i) {
        if (pattern[i] == '%') return false;
        to[i] = pattern[i];
    }
    to[last] = '\0';
    if (last == 0) to[0] = *pattern == '/' ? '/' : '.', to[1] = '\0';
    return true;
}

}  // namespace detail

inline void check_core_file(checkup& to, char const* pattern, rlim_t limit) noexcept {
    char directory[512];
    if (limit < 4096) {  // the kernel writes none of less than a page (fs/coredump.c, min_coredump)
        to.warning().text("a crash leaves no core: RLIMIT_CORE is ").decimal(limit);
        return to.put("ulimit -c unlimited");
    }
    if (detail::directory_of(pattern, directory, sizeof directory))
        if (int const refused = cannot_create_in(AT_FDCWD, directory)) {
            to.warning().text("a crash leaves no core: its directory ").quoted(directory);
            append_errno(to.line().text(" cannot be written, "), refused);
            return to.put("kernel.core_pattern, or another working directory");
        }
    to.ok().text("cores are written as ").quoted(pattern);
    if (limit != RLIM_INFINITY) to.line().text(", of ").decimal(limit).text(" bytes at most");
    to.put();
}

inline void check_core(checkup& to) noexcept {
    rlimit limit{};
    text_lines pattern{"/proc/sys/kernel/core_pattern"};
    if (::getrlimit(RLIMIT_CORE, &limit) != 0) limit.rlim_cur = RLIM_INFINITY;
    if (!pattern.next()) {
        to.note().text(
            "where cores go is not to be known: /proc/sys/kernel/core_pattern is empty or cannot be read");
        return to.put();
    }
    bool const handed_over = *pattern.text() == '|' || *pattern.text() == '@';
    if (!handed_over) return check_core_file(to, pattern.text(), limit.rlim_cur);
    if (limit.rlim_cur == 1) {  // core(5): the one value that stops a pipe too
        to.warning().text("a crash leaves no core: RLIMIT_CORE is 1");
        return to.put("ulimit -c unlimited");
    }
    to.ok().text("cores are handed to ").quoted(pattern.text());
    to.put();
}

inline void check_dumpable(checkup& to) noexcept {
    constexpr long get_dumpable = 3;  // PR_GET_DUMPABLE (linux/prctl.h)
    auto const dumpable = static_cast<int>(in_signal::system_call(SYS_prctl, get_dumpable));
    if (dumpable == 1) return;
    if (dumpable == 0)
        to.warning().text(
            "the process is not dumpable: no core, and waiting threads may not show their stacks");
    else
        to.note()
            .text("only root may read a core of this process (PR_GET_DUMPABLE says ")
            .decimal(dumpable)
            .character(')');
    to.put(dumpable == 0 ? "prctl(PR_SET_DUMPABLE, 1)" : nullptr);
}

inline void check_queue(checkup& to) noexcept {
    text_lines status{"/proc/self/status"};
    while (status.next()) {
        char const* at = status.value_of("SigQ");
        if (at == nullptr) continue;
        std::uint64_t const used = parse_decimal(at);
        if (*at == '/') ++at;
        std::uint64_t const limit = parse_decimal(at);
        if (used + queued_wanted <= limit) {
            to.ok().decimal(used).text(" of ").decimal(limit).text(" queued signals are in use");
            return to.put();
        }
        to.warning().text("almost no room for queued signals, ").decimal(used).text(" of ").decimal(limit);
        to.line().text(" are in use: timers cannot be made, real-time signals are refused");
        return to.put("ulimit -i");
    }
}

// The descriptors in use, before the self-check takes any for itself.
struct descriptor_count {
    std::uint64_t used = 0;
    int refused = 0;  // why they could not be counted: an errno, or 0

    descriptor_count() noexcept {
        int const directory =
            in_signal::openat(AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (directory < 0) {
            refused = -directory;
            return;
        }
        alignas(8) char entries[2048];
        long bytes;
        while ((bytes = in_signal::getdents(directory, entries, sizeof entries)) > 0)
            for (long at = 0; at < bytes;) {
                unsigned short length;  // struct linux_dirent64: the record's length at 16, its name at 19
                __builtin_memcpy(&length, entries + at + 16, sizeof length);
                used += entries[at + 19] != '.';
                at += length;
            }
        in_signal::close(directory);
        used -= used != 0;  // the one to look with
    }
};

inline void check_descriptors(checkup& to, descriptor_count const& count) noexcept {
    rlimit limit{};
    bool const exhausted = count.refused == EMFILE || count.refused == ENFILE;
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || (count.refused != 0 && !exhausted)) return;
    if (!exhausted && count.used + descriptors_wanted <= limit.rlim_cur) {
        to.ok().decimal(count.used).text(" of ").decimal(limit.rlim_cur).text(" descriptors are in use");
        return to.put();
    }
    if (exhausted)
        to.warning().text("no descriptor is left");
    else
        to.warning()
            .text("almost no descriptor is left, ")
            .decimal(count.used)
            .text(" of ")
            .decimal(limit.rlim_cur);
    to.line().text(exhausted ? ": " : " are in use: ").text("a report may read neither /proc nor names");
    to.put("ulimit -n, or close some");
}

inline void check_place(checkup& to) noexcept {
    if (in_signal::getpid() == 1) {
        to.warning().text(
            "this is process 1 of its pid namespace: signals with the default disposition do not end it");
        to.put("start it under an init process");
    }
    if (libc::getauxval(libc::at_secure) == 0) return;
    to.note().text(
        "the program runs with more rights than its caller (AT_SECURE): the environment is not asked");
    to.put();
}

}  // namespace tocsin::posix
