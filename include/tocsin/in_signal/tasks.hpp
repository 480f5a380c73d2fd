// SPDX-License-Identifier: MIT
// The threads of this process, as /proc tells of them.
//
// Runs in the handler. Everything here may fail: /proc may be hidden, or another namespace's.
#pragma once

#include <errno.h>

#include <tocsin/in_signal/format.hpp>
#include <tocsin/in_signal/system.hpp>

namespace tocsin::in_signal {

// The text of /proc/self/task/THREAD/FILE, without its last newline; empty if it cannot be had.
template <std::size_t Capacity>
class task_file {
  public:
    task_file(int thread, char const* file) noexcept {
        fixed_line<64> path;
        path.text("/proc/self/task/").decimal(thread).character('/').text(file).character('\0');
        int const fd = openat(AT_FDCWD, path.data(), O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            error_ = -fd;
            text_[0] = '\0';
            return;
        }
        long const got = read(fd, text_, Capacity - 1);
        close(fd);
        if (got < 0) error_ = static_cast<int>(-got);
        size_ = got > 0 ? static_cast<std::size_t>(got) : 0;
        if (size_ != 0 && text_[size_ - 1] == '\n') --size_;
        text_[size_] = '\0';
    }

    // Ends in a zero.
    char const* text() const noexcept { return text_; }
    std::size_t size() const noexcept { return size_; }
    int error() const noexcept { return error_; }

  private:
    char text_[Capacity];
    std::size_t size_ = 0;
    int error_ = 0;
};

[[gnu::visibility("hidden")]] inline constexpr char blocked_field[] = "\nSigBlk:\t";
inline constexpr std::size_t blocked_field_size = sizeof blocked_field - 1;

// Where a waiting thread stands.
struct waiting_at {
    bool known = false;
    std::uintptr_t sp = 0;
    std::uintptr_t pc = 0;
};

// One number of /proc's: hexadecimal with 0x. Moves on behind it.
inline bool parse_hexadecimal(char const*& at, std::uintptr_t& value) noexcept {
    if (at[0] != '0' || at[1] != 'x') return false;
    value = 0;
    for (at += 2;; ++at) {
        char const c = *at;
        if (c >= '0' && c <= '9')
            value = value << 4 | static_cast<std::uintptr_t>(c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value << 4 | static_cast<std::uintptr_t>(c - 'a' + 10);
        else
            return true;
    }
}

// proc(5), /proc/pid/syscall: the number of the system call and its six arguments, or -1 for a thread that waits
// outside of one; then stack pointer and program counter. "running" for a thread that does not wait.
inline waiting_at where_it_waits(int thread) noexcept {
    task_file<256> const file{thread, "syscall"};
    waiting_at found;
    std::uintptr_t last[2]{};
    unsigned count = 0;
    for (char const* at = file.text(); file.size() != 0 && *at != '\0';) {
        std::uintptr_t value = 0;
        if (!parse_hexadecimal(at, value)) {
            ++at;
            continue;
        }
        last[0] = last[1];
        last[1] = value;
        ++count;
    }
    if (count < 2) return found;
    found.sp = last[0];
    found.pc = last[1];
    found.known = found.sp != 0 && found.pc != 0;
    return found;
}

// proc(5), /proc/pid/stat: the state is one letter, and follows the name, which may hold anything, in parentheses; '?'
// if it cannot be known.
inline char task_state(int thread) noexcept {
    task_file<512> const stat{thread, "stat"};
    char state = '?';
    for (char const* at = stat.text(); stat.size() != 0 && *at != '\0'; ++at)
        if (at[0] == ')' && at[1] == ' ' && at[2] != '\0') state = at[2];
    return state;
}

// A thread that has ended, but is still listed: the main thread is, for as long as the process lives.
inline bool has_ended(int thread) noexcept {
    char const state = task_state(thread);
    return state == 'Z' || state == 'X';
}

// True if `thread` blocks `signal`; false also if that cannot be known. proc(5), /proc/pid/status: a line SigBlk with
// the mask in 16 digits. What stands before it has no bound (groups), so it is read piece by piece.
inline bool blocks(int thread, int signal) noexcept {
    if (signal == 0) return false;
    fixed_line<64> path;
    path.text("/proc/self/task/").decimal(thread).text("/status").character('\0');
    int const fd = openat(AT_FDCWD, path.data(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    char piece[512];
    std::size_t matched = 0;
    unsigned digits = 0;
    kernel_set mask = 0;
    for (long got; digits < 16 && (got = read(fd, piece, sizeof piece)) > 0;) {
        for (long i = 0; i < got && digits < 16; ++i) {
            char const c = piece[i];
            if (matched < blocked_field_size) {
                matched = c == blocked_field[matched] ? matched + 1 : c == '\n' ? 1 : 0;
                continue;
            }
            mask = mask << 4 | static_cast<kernel_set>(c <= '9' ? c - '0' : c - 'a' + 10);
            ++digits;
        }
    }
    close(fd);
    return digits == 16 && (mask & bit_of(signal)) != 0;
}

// Calls visit(thread id) for each thread of this process; an errno if they cannot be listed. A /proc that does not
// know this very thread belongs to another namespace: its numbers are other people's threads.
template <class Visit>
int each_task(Visit&& visit) noexcept {
    if (task_file<64>{gettid(), "comm"}.error() != 0) return ESRCH;
    int const directory = openat(AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) return -directory;
    alignas(8) char entries[2048];
    long bytes;
    while ((bytes = getdents(directory, entries, sizeof entries)) > 0) {
        // struct linux_dirent64 (getdents64(2)): the record's length at 16, its name at 19
        for (long at = 0; at < bytes;) {
            unsigned short length;
            __builtin_memcpy(&length, entries + at + 16, sizeof length);
            int thread = 0;
            for (char const* digit = entries + at + 19; *digit >= '0' && *digit <= '9'; ++digit)
                thread = thread * 10 + (*digit - '0');
            if (thread != 0) visit(thread);
            at += length;
        }
    }
    close(directory);
    return 0;
}

}  // namespace tocsin::in_signal
