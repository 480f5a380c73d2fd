// SPDX-License-Identifier: MIT
// A thread that waits and sends one signal, in the registers of aarch64.
//
// Runs in the handler. Source: clone(2), futex(2), rt_tgsigqueueinfo(2); syscall(2), "Architecture calling
// conventions".
#pragma once

#include <cstdint>

namespace tocsin::in_signal::machine {

// The new thread never leaves this statement and touches no stack: it lives in registers, and reads what to do at
// `orders` (stage_orders). It shares the thread pointer of the thread that started it, so compiled code, which may use
// thread-locals for a sanitizer or the stack protector, is not for it. Answers its thread id or a negated errno.
inline long start_sender(long flags, void* stack, void* orders) noexcept {
    register long x8 __asm__("x8") = 220;  // clone
    register long x0 __asm__("x0") = flags;
    register void* x1 __asm__("x1") = stack;
    register void* x2 __asm__("x2") = static_cast<std::uint32_t*>(orders) + 1;
    register long x3 __asm__("x3") = 0;
    register void* x4 __asm__("x4") = x2;
    register void* x9 __asm__("x9") = orders;
    __asm__ volatile(
        "svc #0\n\t"
        "cbnz x0, 5f\n\t"
        "ldr w10, [x9, #8]\n"     // from here on in the new thread
        "1:\n\t"
        "mov x8, #98\n\t"         // futex(&state, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, armed, &until, 0, any bit)
        "mov x0, x9\n\t"
        "mov x1, #137\n\t"
        "mov w2, w10\n\t"
        "add x3, x9, #24\n\t"
        "mov x4, #0\n\t"
        "mov w5, #-1\n\t"
        "svc #0\n\t"
        "cbz x0, 1b\n\t"
        "cmn x0, #4\n\t"          // EINTR
        "b.eq 1b\n\t"
        "cmn x0, #110\n\t"        // ETIMEDOUT; all others: cancelled, or no waiting here
        "b.ne 3f\n\t"
        "add w11, w10, #1\n"
        "2:\n\t"
        "ldaxr w12, [x9]\n\t"
        "cmp w12, w10\n\t"
        "b.ne 3f\n\t"
        "stlxr w13, w11, [x9]\n\t"
        "cbnz w13, 2b\n\t"
        "mov x8, #240\n\t"        // rt_tgsigqueueinfo(process, thread, signal, &info)
        "ldr w0, [x9, #12]\n\t"
        "ldr w1, [x9, #16]\n\t"
        "ldr w2, [x9, #20]\n\t"
        "add x3, x9, #40\n\t"
        "svc #0\n\t"
        "cbz x0, 3f\n\t"
        "mov x8, #131\n\t"        // tgkill(process, thread, signal)
        "ldr w0, [x9, #12]\n\t"
        "svc #0\n"
        "3:\n\t"
        "mov x8, #93\n\t"         // exit(0)
        "mov x0, #0\n\t"
        "svc #0\n\t"
        "b 3b\n"
        "5:"
        : "+r"(x0)
        : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x9)
        : "cc", "memory");
    return x0;
}

}  // namespace tocsin::in_signal::machine
