// SPDX-License-Identifier: MIT
// The threads of this process, as /proc tells of them.
//
// Runs in the handler. Everything here may fail: /proc may be hidden, or another namespace's. What is read is parsed
// apart from the reading and without trust in it: a text that is not what the manual page describes says nothing.
#pragma once

#include <errno.h>

#include <tocsin/in_signal/format.hpp>
#include <tocsin/in_signal/system.hpp>

namespace tocsin::in_signal {

// Opens a file of a thread: from `tasks`, which is /proc/self/task as each_task() has it open, or by the whole path,
// which takes the kernel half as long again to find.
inline int open_task_file(int tasks, int thread, char const* file) noexcept {
    fixed_line<64> path;
    if (tasks == AT_FDCWD) path.text("/proc/self/task/");
    path.decimal(thread).character('/').text(file).character('\0');
    return openat(tasks, path.data(), O_RDONLY | O_CLOEXEC);
}

// The text of /proc/self/task/THREAD/FILE, without its last newline; empty if it cannot be had.
template <std::size_t Capacity>
class task_file {
  public:
    task_file(int thread, char const* file, int tasks = AT_FDCWD) noexcept {
        int const fd = open_task_file(tasks, thread, file);
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
inline waiting_at parse_where_it_waits(char const* at) noexcept {
    waiting_at found;
    std::uintptr_t last[2]{};
    unsigned count = 0;
    while (*at != '\0') {
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

// The same file, to be asked more than once.
class waiting_place {
  public:
    explicit waiting_place(int thread, int tasks = AT_FDCWD) noexcept
        : fd_{open_task_file(tasks, thread, "syscall")} {}
    ~waiting_place() {
        if (fd_ >= 0) close(fd_);
    }
    waiting_place(waiting_place const&) = delete;
    waiting_place& operator=(waiting_place const&) = delete;

    waiting_at look() noexcept {
        size_ = read_into(text_);
        text_[size_] = '\0';
        return parse_where_it_waits(text_);
    }
    // Looks once more: true if it says what look() saw, the call with all its arguments.
    bool still() const noexcept {
        char now[sizeof text_];
        return size_ != 0 && read_into(now) == size_ && __builtin_memcmp(now, text_, size_) == 0;
    }

  private:
    std::size_t read_into(char (&to)[256]) const noexcept {
        long const got = fd_ >= 0 ? pread(fd_, to, sizeof to - 1, 0) : 0;
        return got > 0 ? static_cast<std::size_t>(got) : 0;
    }

    int fd_;
    std::size_t size_ = 0;
    char text_[256];
};

inline waiting_at where_it_waits(int thread) noexcept { return waiting_place{thread}.look(); }

// proc(5), /proc/pid/stat: the state is one letter, and follows the name, which may hold anything, in parentheses; '?'
// if it cannot be known.
inline char parse_task_state(char const* at) noexcept {
    char state = '?';
    for (; *at != '\0'; ++at)
        if (at[0] == ')' && at[1] == ' ' && at[2] != '\0') state = at[2];
    bool const letter = (state >= 'A' && state <= 'Z') || (state >= 'a' && state <= 'z');
    return letter ? state : '?';
}

inline char task_state(int thread) noexcept { return parse_task_state(task_file<512>{thread, "stat"}.text()); }

// A thread that has ended, but is still listed: the main thread is, for as long as the process lives.
inline bool has_ended(int thread) noexcept {
    char const state = task_state(thread);
    return state == 'Z' || state == 'X';
}

// proc(5), /proc/pid/status: a line SigBlk with the mask in 16 digits. What stands before it has no bound (groups), so
// the text is taken piece by piece.
class blocked_mask {
  public:
    void take(char const* piece, std::size_t size) noexcept {
        for (std::size_t i = 0; i < size && !done(); ++i) {
            char const c = piece[i];
            if (matched_ < blocked_field_size)
                matched_ = c == blocked_field[matched_] ? matched_ + 1 : c == '\n' ? 1 : 0;
            else
                digit(c);
        }
    }
    // No more is needed.
    bool done() const noexcept { return digits_ >= 16; }
    bool known() const noexcept { return digits_ == 16; }
    kernel_set mask() const noexcept { return mask_; }

  private:
    void digit(char c) noexcept {
        bool const decimal = c >= '0' && c <= '9';
        if (!decimal && (c < 'a' || c > 'f')) {
            digits_ = not_a_mask;
            return;
        }
        mask_ = mask_ << 4 | static_cast<kernel_set>(decimal ? c - '0' : c - 'a' + 10);
        ++digits_;
    }

    static constexpr unsigned not_a_mask = 17;
    std::size_t matched_ = 0;
    unsigned digits_ = 0;
    kernel_set mask_ = 0;
};

// True if `thread` blocks `signal`; false also if that cannot be known.
inline bool blocks(int thread, int signal) noexcept {
    if (signal <= 0 || signal > 64) return false;
    int const fd = open_task_file(AT_FDCWD, thread, "status");
    if (fd < 0) return false;
    char piece[512];
    blocked_mask blocked;
    for (long got; !blocked.done() && (got = read(fd, piece, sizeof piece)) > 0;)
        blocked.take(piece, static_cast<std::size_t>(got));
    close(fd);
    return blocked.known() && (blocked.mask() & bit_of(signal)) != 0;
}

// Calls visit(number) for each entry whose name is a number other than 0. `entries` is what getdents64(2) gave: struct
// linux_dirent64, with the record's length at 16 and its name at 19. A record that does not fit is the end.
template <class Visit>
void each_number(char const* entries, std::size_t bytes, Visit&& visit) noexcept {
    constexpr std::size_t name_at = 19;
    constexpr int most = 100'000'000;  // above all thread ids: PID_MAX_LIMIT is 2^22 (include/linux/threads.h)
    for (std::size_t at = 0; bytes - at > name_at;) {
        unsigned short length;
        __builtin_memcpy(&length, entries + at + 16, sizeof length);
        if (length <= name_at || length > bytes - at) return;
        char const* digit = entries + at + name_at;
        char const* const end = entries + at + length;
        int number = 0;
        for (; digit != end && *digit >= '0' && *digit <= '9' && number < most; ++digit)
            number = number * 10 + (*digit - '0');
        if (number != 0 && digit != end && *digit == '\0') visit(number);
        at += length;
    }
}

// Calls visit(thread id) for each thread of this process, or visit(thread id, tasks) with the descriptor of the list
// that files of threads can be opened from; an errno if they cannot be listed. A /proc that does not
// know this very thread belongs to another namespace: its numbers are other people's threads.
template <class Visit>
int each_task(Visit&& visit) noexcept {
    int const unknown = task_file<64>{gettid(), "comm"}.error();
    if (unknown != 0) return unknown == ENOENT ? ESRCH : unknown;
    int const directory = openat(AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) return -directory;
    alignas(8) char entries[2048];
    long bytes;
    while ((bytes = getdents(directory, entries, sizeof entries)) > 0)
        each_number(entries, static_cast<std::size_t>(bytes), [&](int thread) noexcept {
            if constexpr (requires { visit(thread, directory); })
                visit(thread, directory);
            else
                visit(thread);
        });
    close(directory);
    return bytes < 0 ? static_cast<int>(-bytes) : 0;
}

}  // namespace tocsin::in_signal
