// SPDX-License-Identifier: MIT
// `wakeup_fd bytes{fd}` and `on<SIGINT>(wake_byte(bytes))`: a byte for each signal, its number, into a descriptor that
// the program gives: the protocol of CPython's set_wakeup_fd and of what understands it, asyncio's loops first.
//
// Built on any ordinary thread; the bytes are written in the handler, without waiting and without SIGPIPE. There may
// be any number of them, one in several rows and guards, and several in one row.
//
//     wakeup_fd bytes{writer};                                  // before the guard that uses it
//     guard signals{on<SIGINT, SIGTERM>(wake_byte(bytes))};
//     { wakeup_fd::instead other{bytes, writer2}; … }           // for a scope; then `writer` again
//
// The descriptor is duplicated: closing the number, or another file under it, redirects no byte. The bytes are a hint
// that a loop wakes for; a full buffer loses bytes, never signals, and says so. Only rows with the word write: what the
// program has no handler for, no byte tells of. A program that has no such protocol to serve is better off with `wake`.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tocsin/error.hpp>
#include <tocsin/in_signal/wake_byte.hpp>
#include <tocsin/on.hpp>
#include <tocsin/posix/library.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/posix/registry.hpp>
#include <tocsin/signal_set.hpp>
#include <tocsin/traits.hpp>

namespace tocsin {

// A descriptor that cannot be written bytes to, and why: its number is in what() and fd().
class [[gnu::visibility("default")]] descriptor_error : public error {
  public:
    descriptor_error(int code, int fd, char const* reason) noexcept : error{code, "wakeup_fd", 0}, fd_{fd} {
        __builtin_snprintf(text_, sizeof text_, "tocsin: wakeup_fd: descriptor %d %s", fd, reason);
    }
    char const* what() const noexcept override { return text_; }
    int fd() const noexcept { return fd_; }

  private:
    int fd_;
    char text_[128];
};

// The word for a descriptor without O_NONBLOCK. Nothing blocks on it here: what is written through is our own, or a
// socket, which is told so each time (send(2), MSG_DONTWAIT). But whoever reads the other end, or writes to it besides,
// does not expect to be the only one, more often than not.
struct even_blocking_t {};
[[gnu::visibility("hidden")]] inline constexpr even_blocking_t even_blocking{};

namespace detail {

struct descriptor_refusal {
    int code = 0;
    char const* reason = "";
};

// An open file description of our own, where there can be one: flags that others change later do not reach it
// (proc(5), /proc/pid/fd). Otherwise a duplicate, which shares them.
inline int own_descriptor(int fd, mode_t kind) noexcept {
    if (S_ISFIFO(kind) || S_ISCHR(kind)) {
        char path[32];
        __builtin_snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        int const own = ::open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        if (own > STDERR_FILENO) return own;
        if (own >= 0) ::close(own);
    }
    return ::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

inline descriptor_refusal open_target(in_signal::byte_target& to, int fd, bool may_block) noexcept {
    int const flags = ::fcntl(fd, F_GETFL);
    struct stat about {};
    if (flags < 0 || ::fstat(fd, &about) != 0) return {EBADF, "is not open"};
    if ((flags & O_ACCMODE) == O_RDONLY || (flags & O_PATH) != 0) return {EBADF, "is not open for writing"};
    // eventfd, timerfd and the like have no kind, and take eight bytes or none
    if ((about.st_mode & S_IFMT) == 0) return {EINVAL, "takes no single bytes; give the end of a pipe or a socket"};
    if ((flags & O_NONBLOCK) == 0 && !may_block)
        return {EINVAL, "would block; set O_NONBLOCK, or say wakeup_fd{fd, even_blocking}"};
    to.socket = S_ISSOCK(about.st_mode);
    to.descriptor = own_descriptor(fd, about.st_mode);
    if (to.descriptor < 0) return {errno, "cannot be duplicated"};
    bool const can_block = !to.socket && !S_ISREG(about.st_mode);
    if (!can_block || (::fcntl(to.descriptor, F_GETFL) & O_NONBLOCK) != 0) return {};
    ::close(to.descriptor);
    to.descriptor = -1;
    return {EINVAL, "would block, and cannot be opened anew without /proc"};
}

[[noreturn]] inline void fail_of(descriptor_refusal const& refused, int fd) {
    descriptor_error const what{refused.code, fd, refused.reason};
#if defined(__cpp_exceptions)
    throw what;
#else
    char const* const line = what.what();
    in_signal::write(2, line, __builtin_strlen(line));
    in_signal::write(2, "\n", 1);
    __builtin_abort();
#endif
}

}  // namespace detail

// The descriptor of a `wake_byte` row. Outlives the guards that use it; does not move. One thread at a time changes it,
// by `instead` and rearm(); the numbers may be asked for anywhere.
class wakeup_fd {
  public:
    // Throws tocsin::descriptor_error, an error: EBADF for a descriptor that is not open, or not for writing; EINVAL
    // for one that would block, or that takes no single bytes; EMFILE. Without exceptions it prints the error and
    // aborts: use the constructor with `ec`.
    [[nodiscard]] explicit wakeup_fd(int fd) { must(open(fd, false), fd); }
    [[nodiscard]] wakeup_fd(int fd, even_blocking_t) { must(open(fd, true), fd); }

    // Reports into `ec` instead: 0 for success, else an errno. Then no byte is written.
    template <class ErrorCode>
        requires detail::error_place<ErrorCode>
    [[nodiscard]] wakeup_fd(ErrorCode& ec, int fd) noexcept { ec = open(fd, false).code; }

    ~wakeup_fd() { take_away(first_); }
    wakeup_fd(wakeup_fd const&) = delete;
    wakeup_fd& operator=(wakeup_fd const&) = delete;

    // For a scope: bytes go to another descriptor, or nowhere. They nest, and may end in any order.
    class instead {
      public:
        // Throws as wakeup_fd does.
        [[nodiscard]] instead(wakeup_fd& of, int fd) : instead{of, fd, false} {}
        [[nodiscard]] instead(wakeup_fd& of, int fd, even_blocking_t) : instead{of, fd, true} {}
        [[nodiscard]] explicit instead(wakeup_fd& of) noexcept : of_{of} { of_.put_first(target_); }
        ~instead() { of_.take_away(target_); }
        instead(instead const&) = delete;
        instead& operator=(instead const&) = delete;

      private:
        instead(wakeup_fd& of, int fd, bool may_block) : of_{of} {
            must(detail::open_target(target_, fd, may_block), fd);
            of_.put_first(target_);
        }

        wakeup_fd& of_;
        in_signal::byte_target target_{};
    };

    // How many bytes a full buffer refused, and how many failed otherwise (EPIPE: nobody reads any more), with the
    // last errno of these.
    unsigned long full() const noexcept { return writer_.full.load(); }
    unsigned long failed() const noexcept { return writer_.failed.load(); }
    int reason() const noexcept { return writer_.reason.load(); }
    // The signals whose bytes were refused since this was asked last. A reader that drains the buffer and then asks
    // this has missed none.
    signal_set take_refused() noexcept { return signal_set::of_bits(writer_.refused.exchange(0)); }

    // In a forked child, where nothing is written to the parent's descriptor: from now on bytes go to this one, which
    // is the child's own. Ends every `instead` that the child has inherited. Throws as the constructor does.
    void rearm(int fd) {
        in_signal::byte_target fresh{};
        must(detail::open_target(fresh, fd, false), fd);
        in_signal::table* in = nullptr;
        if (failure const refused = posix::find_table(in)) posix::fail(refused);
        posix::adopt_process(*in);
        if (writer_.process.load() != in_signal::getpid()) writer_.inside.store(0);
        writer_.newest.store(nullptr);
        wait_for_writers();
        if (first_.descriptor >= 0) ::close(first_.descriptor);
        first_ = fresh;
        writer_.process.store(in_signal::getpid());
        writer_.newest.store(&first_);
    }

    in_signal::byte_writer& writer() noexcept { return writer_; }

  private:
    static void must(detail::descriptor_refusal const& refused, int fd) {
        if (refused.code != 0) detail::fail_of(refused, fd);
    }

    detail::descriptor_refusal open(int fd, bool may_block) noexcept {
        detail::descriptor_refusal const refused = detail::open_target(first_, fd, may_block);
        writer_.process.store(in_signal::getpid());
        if (refused.code == 0) writer_.newest.store(&first_);
        return refused;
    }

    void put_first(in_signal::byte_target& target) noexcept {
        target.older = writer_.newest.load();
        writer_.newest.store(&target);
    }

    // Afterwards no handler holds the target, and its number may be another file's.
    void take_away(in_signal::byte_target& target) noexcept {
        if (writer_.newest.load() == &target) {
            writer_.newest.store(target.older);
        } else {
            in_signal::byte_target* at = writer_.newest.load();
            while (at != nullptr && at->older != &target) at = at->older;
            if (at != nullptr) at->older = target.older;
        }
        wait_for_writers();
        if (target.descriptor >= 0) ::close(target.descriptor);
        target.descriptor = -1;
    }

    // A handler is inside for the length of a write that does not wait. In a forked child the threads that were are
    // not there any more.
    void wait_for_writers() const noexcept {
        while (writer_.inside.load() != 0 && writer_.process.load() == in_signal::getpid()) ::sched_yield();
    }

    in_signal::byte_writer writer_{};
    in_signal::byte_target first_{};
};

struct wake_byte_t {
    static constexpr stage where = stage::handler;
    static constexpr bool on_fault = false;
    static constexpr bool on_hang = false;
    static constexpr bool behind_records = true;  // who is woken finds what the row has recorded

    in_signal::byte_writer* writer;

    in_signal::write_byte_to part() const noexcept { return {writer}; }
};

// Writes a byte, the signal's number, to the descriptor of a wakeup_fd.
template <class T>
constexpr auto wake_byte(T&& bytes) noexcept {
    constexpr bool stays = detail::same<T, wakeup_fd&>;
    static_assert(stays, "tocsin: wake_byte(bytes) takes a wakeup_fd that outlives the guard; write "
                         "wakeup_fd bytes{fd}; before it");
    if constexpr (stays)
        return wake_byte_t{&bytes.writer()};
    else
        return detail::refused{};
}

}  // namespace tocsin
