// SPDX-License-Identifier: MIT
// Whole lines to a descriptor that may be full, broken, closed or watched by nobody.
//
// Runs in the handler. An output has a budget of time for all that it writes: a full pipe, a stopped
// terminal or a reader that went to sleep costs that much and no more. It raises no SIGPIPE and no SIGXFSZ
// in the process. After the first failure it writes nothing more and remembers why. It cannot bound a
// write to a file on a disk that does not answer; nothing in user space can.
#pragma once

#include <errno.h>

#include <tocsin/in_signal/format.hpp>
#include <tocsin/in_signal/system.hpp>

namespace tocsin::in_signal {

// SIGPIPE and SIGXFSZ do not reach this thread, nor leave it pending, while one of these lives. The kernel
// aims both at the thread that writes (fs/pipe.c, pipe_write; mm/filemap.c, generic_write_check_limits),
// so taking back the one we caused takes nobody else's, unless one was pending before: then it stays.
class write_signals_absorbed {
  public:
    write_signals_absorbed() noexcept {
        kernel_set const both = bit_of(SIGPIPE) | bit_of(SIGXFSZ);
        change_mask(SIG_BLOCK, &both, &mask_);
        system_call(SYS_rt_sigpending, as_word(&pending_), sizeof pending_);
    }
    ~write_signals_absorbed() {
        take_back(SIGPIPE);
        take_back(SIGXFSZ);
        change_mask(SIG_SETMASK, &mask_, nullptr);
    }
    write_signals_absorbed(write_signals_absorbed const&) = delete;
    write_signals_absorbed& operator=(write_signals_absorbed const&) = delete;

    void caused(int signal) noexcept { caused_ |= bit_of(signal); }

  private:
    void take_back(int signal) noexcept {
        kernel_set const one = bit_of(signal);
        if ((caused_ & one) == 0 || (pending_ & one) != 0) return;
        timespec const at_once{};
        system_call(SYS_rt_sigtimedwait, as_word(&one), 0, as_word(&at_once), sizeof one);
    }

    kernel_set mask_ = 0;
    kernel_set pending_ = 0;
    kernel_set caused_ = 0;
};

class output {
  public:
    // Borrows the descriptor. `budget` is the time in nanoseconds that all writing may wait; 0 is "try
    // once". With memory of its own it gathers lines, and writes when the next one does not fit.
    output(int fd, std::uint64_t budget, char* memory = nullptr, std::size_t capacity = 0) noexcept
        : fd_{fd},
          deadline_{monotonic() + budget},
          memory_{memory},
          capacity_{capacity < atomic_size ? capacity : atomic_size} {
        choose_way();
    }
    ~output() {
        flush();
        if (own_ >= 0) close(own_);
    }
    output(output const&) = delete;
    output& operator=(output const&) = delete;

    // A text that ends in a newline, normally. Up to 4096 bytes go out in one write, which a pipe does not
    // mix with the lines of others (pipe(7), PIPE_BUF). False once anything has failed.
    bool write(char const* from, std::size_t size) noexcept {
        if (error_ != 0) return false;
        if (size > capacity_ - held_ && !flush()) return false;
        if (size > capacity_) return send(from, size);
        for (std::size_t i = 0; i < size; ++i) memory_[held_ + i] = from[i];
        held_ += size;
        return true;
    }
    bool write(char const* text) noexcept { return write(text, length_of(text)); }
    bool write(line const& whole) noexcept { return write(whole.data(), whole.size()); }
    // Ends the line, writes it and empties it for the next.
    bool put(line& whole) noexcept {
        bool const done = write(whole.end());
        whole.clear();
        return done;
    }

    bool flush() noexcept {
        std::size_t const size = held_;
        held_ = 0;
        return size == 0 ? error_ == 0 : send(memory_, size);
    }

    bool failed() const noexcept { return error_ != 0; }
    // Why it stopped: an errno; ETIMEDOUT if the budget ran out.
    int error() const noexcept { return error_; }
    std::uint64_t bytes() const noexcept { return bytes_; }  // that the kernel has taken

  private:
    static constexpr std::size_t atomic_size = 4096;
    // The same numbers on every architecture that tocsin knows (asm-generic/ioctls.h, asm-generic/socket.h,
    // linux/socket.h, asm-generic/poll.h); their headers are large or clash.
    static constexpr long get_window_size = 0x5413;
    static constexpr long socket_level = 1;
    static constexpr long socket_type = 3;
    static constexpr long send_without_wait_or_signal = 0x40 | 0x4000;
    static constexpr short writable_event = 4;

    enum class way { plain, without_wait, socket };

    // A descriptor that blocks can stop a write even after poll(2) has said "writable": another writer was
    // faster, or a terminal had room for less than the line. A description of our own that does not block
    // cures both, and leaves the flags of the program's alone. Sockets have a flag for it instead.
    void choose_way() noexcept {
        unsigned short size[4]{};
        int type = 0;
        unsigned type_size = sizeof type;
        // What can never be written poll(2) would wait for, and reopening a pipe's reading end would make
        // it writable.
        long const flags = system_call(SYS_fcntl, fd_, F_GETFL);
        if (flags == -EBADF || (flags >= 0 && (flags & O_ACCMODE) == O_RDONLY)) {
            error_ = EBADF;
            return;
        }
        bool const waits = system_call(SYS_fcntl, fd_, F_GETPIPE_SZ) >= 0 ||
                           system_call(SYS_ioctl, fd_, get_window_size, as_word(size)) >= 0;
        if (waits)
            reopen();
        else if (system_call(SYS_getsockopt, fd_, socket_level, socket_type, as_word(&type),
                             as_word(&type_size)) == 0)
            way_ = way::socket;
    }

    // The thread's own directory: that of the process is empty once the main thread has ended.
    void reopen() noexcept {
        fixed_line<64> path;
        path.text("/proc/thread-self/fd/").decimal(fd_).character('\0');
        own_ = openat(AT_FDCWD, path.data(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        if (own_ >= 0) way_ = way::without_wait;
    }

    bool send(char const* from, std::size_t size) noexcept {
        if (error_ != 0) return false;
        while (size != 0) {
            if (way_ == way::plain && !wait_writable()) return false;
            long const taken = once(from, size < atomic_size ? size : atomic_size);
            if (taken > 0) {
                from += taken;
                size -= static_cast<std::size_t>(taken);
                bytes_ += static_cast<std::uint64_t>(taken);
            } else if (taken == -EAGAIN) {
                if (!wait_writable()) return false;
            } else if (taken != -EINTR) {
                return fail(taken == 0 ? EIO : static_cast<int>(-taken));
            }
            if (size != 0 && monotonic() > deadline_) return fail(ETIMEDOUT);
        }
        return true;
    }

    long once(char const* from, std::size_t size) noexcept {
        if (way_ == way::socket)
            return system_call(SYS_sendto, fd_, as_word(from), static_cast<long>(size),
                               send_without_wait_or_signal, 0, 0);
        return in_signal::write(way_ == way::without_wait ? own_ : fd_, from, size);
    }

    // True when a write will take something or fail; false, and failed, when the budget is used up.
    bool wait_writable() noexcept {
        for (;;) {
            struct {
                int fd;
                short events;
                short happened;
            } question{own_ >= 0 ? own_ : fd_, writable_event, 0};
            std::uint64_t const now = monotonic();
            std::uint64_t const left = now < deadline_ ? deadline_ - now : 0;
            timespec limit{static_cast<time_t>(left / 1'000'000'000U),
                           static_cast<long>(left % 1'000'000'000U)};
            long const answer =
                system_call(SYS_ppoll, as_word(&question), 1, as_word(&limit), 0, sizeof(kernel_set));
            if (answer > 0) return true;
            if (answer == 0) return fail(ETIMEDOUT);
            if (answer != -EINTR) return true;  // poll is refused: let the write tell
        }
    }

    bool fail(int error) noexcept {
        error_ = error;
        if (error == EPIPE) signals_.caused(SIGPIPE);
        if (error == EFBIG) signals_.caused(SIGXFSZ);
        return false;
    }

    write_signals_absorbed signals_;
    int fd_;
    int own_ = -1;
    int error_ = 0;
    way way_ = way::plain;
    std::uint64_t deadline_;
    std::uint64_t bytes_ = 0;
    char* memory_;
    std::size_t capacity_;
    std::size_t held_ = 0;
};

}  // namespace tocsin::in_signal
