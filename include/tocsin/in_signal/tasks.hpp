// SPDX-License-Identifier: MIT
// The threads of this process, as /proc tells of them.
//
// Runs in the handler. Everything here may fail: /proc may be hidden, or another namespace's.
#pragma once

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
            return;
        }
        long const got = read(fd, text_, Capacity - 1);
        close(fd);
        if (got < 0) error_ = static_cast<int>(-got);
        size_ = got > 0 ? static_cast<std::size_t>(got) : 0;
        if (size_ != 0 && text_[size_ - 1] == '\n') --size_;
        text_[size_] = '\0';
    }

    char const* text() const noexcept { return text_; }
    std::size_t size() const noexcept { return size_; }
    int error() const noexcept { return error_; }

  private:
    char text_[Capacity];
    std::size_t size_ = 0;
    int error_ = 0;
};

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
