// SPDX-License-Identifier: MIT
// The system call instruction of aarch64, and the thread's registers that handlers look at.
//
// Runs in the handler. Source: the kernel's arch/arm64 entry code; syscall(2), "Architecture calling
// conventions".
#pragma once

#include <ucontext.h>

#include <cstdint>

namespace tocsin::in_signal {

// What a call has no argument for, the kernel does not look at. Where it has one and it is to be 0, say so, from the
// fourth on.
inline long system_call(long number) noexcept {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0");
    __asm__ volatile("svc #0" : "=r"(x0) : "r"(x8) : "memory");
    return x0;
}

inline long system_call(long number, long a, long b = 0, long c = 0) noexcept {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}

inline long system_call(long number, long a, long b, long c, long d) noexcept {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}

inline long system_call(long number, long a, long b, long c, long d, long e, long f = 0) noexcept {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc #0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}

// What fstat(2) and newfstatat(2) write (include/uapi/asm-generic/stat.h).
struct kernel_stat {
    std::uint64_t device, inode;
    std::uint32_t mode, links, user, group;
    std::uint64_t special_device, padding;
    std::int64_t size;
    std::uint64_t rest[9];
};

// The value that tells this thread from all others; never 0 in a thread made by libc.
inline std::uintptr_t thread_pointer() noexcept {
    std::uintptr_t self;
    __asm__("mrs %0, tpidr_el0" : "=r"(self));
    return self;
}

inline void relax() noexcept { __asm__ volatile("yield"); }

inline std::uintptr_t program_counter(ucontext_t const& context) noexcept {
    return static_cast<std::uintptr_t>(context.uc_mcontext.pc);
}

inline std::uintptr_t stack_pointer(ucontext_t const& context) noexcept {
    return static_cast<std::uintptr_t>(context.uc_mcontext.sp);
}

// The control and status words of the floating-point unit, put back at the end of the scope. The kernel does the
// same around a handler; this is for code that calls one without it.
class floating_point_environment {
  public:
    floating_point_environment() noexcept {
        __asm__ volatile("mrs %0, fpcr\n\tmrs %1, fpsr" : "=r"(control_), "=r"(status_));
    }
    ~floating_point_environment() { __asm__ volatile("msr fpcr, %0\n\tmsr fpsr, %1" : : "r"(control_), "r"(status_)); }
    floating_point_environment(floating_point_environment const&) = delete;
    floating_point_environment& operator=(floating_point_environment const&) = delete;

  private:
    std::uint64_t control_;
    std::uint64_t status_;
};

// Alignment checks are the kernel's to switch on, not the program's.
inline void allow_unaligned() noexcept {}

}  // namespace tocsin::in_signal
