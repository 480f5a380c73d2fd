// SPDX-License-Identifier: MIT
// The system call instruction of x86-64, and the thread's registers that handlers look at.
//
// Runs in the handler. Source: the x86-64 psABI, appendix A.2 (calling conventions of the Linux kernel).
#pragma once

#include <ucontext.h>

#include <cstdint>

namespace tocsin::in_signal {

// What a call has no argument for, the kernel does not look at. Where it has one and it is to be 0, say so, from the
// fourth on.
inline long system_call(long number) noexcept {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number) : "rcx", "r11", "memory");
    return result;
}

inline long system_call(long number, long a, long b = 0, long c = 0) noexcept {
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
}

inline long system_call(long number, long a, long b, long c, long d) noexcept {
    register long r10 __asm__("r10") = d;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}

inline long system_call(long number, long a, long b, long c, long d, long e, long f = 0) noexcept {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

// What fstat(2) and newfstatat(2) write (arch/x86/include/uapi/asm/stat.h).
struct kernel_stat {
    std::uint64_t device, inode, links;
    std::uint32_t mode, user, group, padding;
    std::uint64_t special_device;
    std::int64_t size;
    std::uint64_t rest[11];
};

// The value that tells this thread from all others; never 0 in a thread made by libc.
inline std::uintptr_t thread_pointer() noexcept {
    std::uintptr_t self;
    __asm__("mov %%fs:0, %0" : "=r"(self));
    return self;
}

inline void relax() noexcept { __asm__ volatile("pause"); }

inline std::uintptr_t program_counter(ucontext_t const& context) noexcept {
    return static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RIP]);
}

inline std::uintptr_t stack_pointer(ucontext_t const& context) noexcept {
    return static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RSP]);
}

// The control words of the floating-point units, put back at the end of the scope. The kernel does the same around
// a handler; this is for code that calls one without it.
class floating_point_environment {
  public:
    floating_point_environment() noexcept {
        __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(mxcsr_), "=m"(control_));
    }
    ~floating_point_environment() { __asm__ volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(mxcsr_), "m"(control_)); }
    floating_point_environment(floating_point_environment const&) = delete;
    floating_point_environment& operator=(floating_point_environment const&) = delete;

  private:
    std::uint32_t mxcsr_;
    std::uint16_t control_;
};

// The kernel leaves a handler the alignment check of the program that it interrupts (EFLAGS.AC, Intel SDM volume 1,
// 3.4.3.3): our own reads would fault. The program has it back when the handler returns. The stack pointer steps over
// the red zone.
inline void allow_unaligned() noexcept {
    __asm__ volatile(
        "leaq -128(%%rsp), %%rsp\n\t"
        "pushfq\n\t"
        "andl $~0x40000, (%%rsp)\n\t"
        "popfq\n\t"
        "leaq 128(%%rsp), %%rsp"
        :
        :
        : "memory", "cc");
}

}  // namespace tocsin::in_signal
