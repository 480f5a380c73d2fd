// SPDX-License-Identifier: MIT
// The system calls that handlers make, made directly.
//
// Runs in the handler. Nothing here touches errno, enters the dynamic linker (the first call of a libc
// function through lazy binding needs 3.2 kB of stack) or is a cancellation point. A result from -4095 to
// -1 is a negated errno, as the kernel gives it.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#include <tocsin/in_signal/system_x86_64.hpp>
#elif defined(__aarch64__)
#include <tocsin/in_signal/system_aarch64.hpp>
#else
#error "tocsin supports Linux on x86-64 and aarch64"
#endif

namespace tocsin::in_signal {

// The kernel's own signal set: one bit a signal, signal 1 in the lowest (_NSIG_WORDS is 1 on 64 bits).
using kernel_set = std::uint64_t;

constexpr kernel_set bit_of(int signal) noexcept { return kernel_set{1} << (signal - 1); }

// What rt_sigaction(2) reads and writes (include/linux/signal_types.h).
struct kernel_action {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)();
    kernel_set mask;
};

template <class T>
long as_word(T* pointer) noexcept {
    return reinterpret_cast<long>(pointer);
}

inline int getpid() noexcept { return static_cast<int>(system_call(SYS_getpid)); }
inline int gettid() noexcept { return static_cast<int>(system_call(SYS_gettid)); }

inline long read(int fd, void* to, std::size_t bytes) noexcept {
    return system_call(SYS_read, fd, as_word(to), static_cast<long>(bytes));
}

inline long pread(int fd, void* to, std::size_t bytes, std::uint64_t offset) noexcept {
    return system_call(SYS_pread64, fd, as_word(to), static_cast<long>(bytes), static_cast<long>(offset));
}

inline long write(int fd, void const* from, std::size_t bytes) noexcept {
    return system_call(SYS_write, fd, as_word(from), static_cast<long>(bytes));
}

inline int openat(int directory, char const* path, int flags, int mode = 0) noexcept {
    return static_cast<int>(system_call(SYS_openat, directory, as_word(path), flags, mode));
}

inline int close(int fd) noexcept { return static_cast<int>(system_call(SYS_close, fd)); }

inline long getdents(int directory, void* to, std::size_t bytes) noexcept {
    return system_call(SYS_getdents64, directory, as_word(to), static_cast<long>(bytes));
}

inline int change_mask(int how, kernel_set const* set, kernel_set* old) noexcept {
    return static_cast<int>(
        system_call(SYS_rt_sigprocmask, how, as_word(set), as_word(old), sizeof(kernel_set)));
}

inline int change_action(int signal, kernel_action const* action, kernel_action* old) noexcept {
    return static_cast<int>(
        system_call(SYS_rt_sigaction, signal, as_word(action), as_word(old), sizeof(kernel_set)));
}

inline int tgkill(int process, int thread, int signal) noexcept {
    return static_cast<int>(system_call(SYS_tgkill, process, thread, signal));
}

inline int queue_to_thread(int process, int thread, int signal, siginfo_t const* info) noexcept {
    return static_cast<int>(
        system_call(SYS_rt_tgsigqueueinfo, process, thread, signal, as_word(info)));
}

// Nanoseconds of CLOCK_MONOTONIC, which does not count while the machine is suspended.
inline std::uint64_t monotonic() noexcept {
    timespec now{};
    system_call(SYS_clock_gettime, CLOCK_MONOTONIC, as_word(&now));
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

// futex(2), private to the process. `timeout` of 0 waits for ever; otherwise nanoseconds from now.
inline int futex_wait(std::uint32_t* word, std::uint32_t expected, std::uint64_t timeout = 0) noexcept {
    constexpr long wait_private = 0 | 128;
    timespec limit{static_cast<time_t>(timeout / 1'000'000'000U), static_cast<long>(timeout % 1'000'000'000U)};
    return static_cast<int>(system_call(SYS_futex, as_word(word), wait_private, static_cast<long>(expected),
                                        timeout != 0 ? as_word(&limit) : 0));
}

inline int futex_wake(std::uint32_t* word, int waiters) noexcept {
    constexpr long wake_private = 1 | 128;
    return static_cast<int>(system_call(SYS_futex, as_word(word), wake_private, waiters));
}

inline void yield() noexcept { system_call(SYS_sched_yield); }

inline void nap(long nanoseconds) noexcept {
    timespec const moment{0, nanoseconds};
    system_call(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, as_word(&moment), 0);
}

// membarrier(2), the commands of linux/membarrier.h: every running thread of the process passes a full barrier.
inline bool knows_expedited_barrier() noexcept {
    constexpr long query = 0;
    constexpr long expedited = 1 << 3;
    long const known = system_call(SYS_membarrier, query);
    return known > 0 && (known & expedited) != 0;
}
inline long expedited_barrier() noexcept { return system_call(SYS_membarrier, 1 << 3); }
inline long register_for_barrier() noexcept { return system_call(SYS_membarrier, 1 << 4); }

// The mask that the thread has again when the handler returns. libc's sigset_t is larger than the kernel's,
// which is its first word; sigaddset(3) and its relatives would enter the dynamic linker.
inline kernel_set interrupted_mask(ucontext_t const& context) noexcept {
    kernel_set mask;
    __builtin_memcpy(&mask, &context.uc_sigmask, sizeof mask);
    return mask;
}

inline void set_interrupted_mask(ucontext_t& context, kernel_set mask) noexcept {
    __builtin_memcpy(&context.uc_sigmask, &mask, sizeof mask);
}

// Ends the process at once: no atexit, no destructors.
[[noreturn]] inline void exit_now(int code) noexcept {
    for (;;) system_call(SYS_exit_group, code);
}

}  // namespace tocsin::in_signal
