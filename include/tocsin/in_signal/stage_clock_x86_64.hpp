// SPDX-License-Identifier: MIT
// A thread that waits and sends one signal, in the registers of x86-64.
//
// Runs in the handler. Source: clone(2), futex(2), rt_tgsigqueueinfo(2); the system call convention of the psABI,
// appendix A.2.
#pragma once

#include <cstdint>

namespace tocsin::in_signal::machine {

// The new thread never leaves this statement and touches no stack: it lives in registers, and reads what to do at
// `orders` (stage_orders). It shares the thread pointer of the thread that started it, so compiled code, which may use
// thread-locals for a sanitizer or the stack protector, is not for it. Answers its thread id or a negated errno.
inline long start_sender(long flags, void* stack, void* orders) noexcept {
    void* const thread_id = static_cast<std::uint32_t*>(orders) + 1;
    register long r8 __asm__("r8") = 0;
    register void* r10 __asm__("r10") = thread_id;
    register void* r12 __asm__("r12") = orders;
    long result;
    __asm__ volatile(
        "syscall\n\t"
        "testq %%rax, %%rax\n\t"
        "jnz 5f\n\t"
        "movl 8(%%r12), %%r13d\n"  // from here on in the new thread
        "1:\n\t"
        "movl $202, %%eax\n\t"     // futex(&state, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, armed, &until, 0, any bit)
        "movq %%r12, %%rdi\n\t"
        "movl $137, %%esi\n\t"
        "movl %%r13d, %%edx\n\t"
        "leaq 24(%%r12), %%r10\n\t"
        "xorl %%r8d, %%r8d\n\t"
        "movl $-1, %%r9d\n\t"
        "syscall\n\t"
        "testq %%rax, %%rax\n\t"
        "jz 1b\n\t"
        "cmpq $-4, %%rax\n\t"      // EINTR
        "je 1b\n\t"
        "cmpq $-110, %%rax\n\t"    // ETIMEDOUT; all others: cancelled, or no waiting here
        "jne 3f\n\t"
        "movl %%r13d, %%eax\n\t"
        "leal 1(%%r13), %%ecx\n\t"
        "lock cmpxchgl %%ecx, (%%r12)\n\t"
        "jne 3f\n\t"
        "movl $297, %%eax\n\t"     // rt_tgsigqueueinfo(process, thread, signal, &info)
        "movl 12(%%r12), %%edi\n\t"
        "movl 16(%%r12), %%esi\n\t"
        "movl 20(%%r12), %%edx\n\t"
        "leaq 40(%%r12), %%r10\n\t"
        "syscall\n\t"
        "testq %%rax, %%rax\n\t"
        "jz 3f\n\t"
        "movl $234, %%eax\n\t"     // tgkill(process, thread, signal)
        "syscall\n"
        "3:\n\t"
        "movl $60, %%eax\n\t"      // exit(0)
        "xorl %%edi, %%edi\n\t"
        "syscall\n\t"
        "jmp 3b\n"
        "5:"
        : "=a"(result)
        : "a"(56L), "D"(flags), "S"(stack), "d"(thread_id), "r"(r10), "r"(r8), "r"(r12)
        : "rcx", "r11", "cc", "memory");
    return result;
}

}  // namespace tocsin::in_signal::machine
