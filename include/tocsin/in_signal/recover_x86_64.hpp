// SPDX-License-Identifier: MIT
// The place in the code that a thread can be put back to, on x86-64.
//
// Runs in the handler. Source: the x86-64 psABI, section 3.2.1 (registers and the red zone); the kernel's
// arch/x86/include/uapi/asm/sigcontext.h; asm goto of the compilers' extended assembly.
#pragma once

#include <ucontext.h>

#include <cstdint>

namespace tocsin::in_signal::machine {

struct place {
    std::uintptr_t pc;
    std::uintptr_t sp;
    std::uintptr_t frame;
    std::uintptr_t shadow;  // pointer into the shadow stack of CET; 0 where there is none
};

// True when it is passed; false when the thread has been put back here. The compiler sees the jump to `back` as one
// that this statement may make, and is told that it leaves no register alone. Three it may rely on all the same, and
// those are put back: sp, the frame pointer, and rdi. What a caller keeps in rbx and r12 to r15 is therefore in the
// frame of the function that this is written in. It must be a function that is not inlined, and use nothing behind
// `back` but constants and the place: the compiler may have given any other slot of the frame away meanwhile.
__attribute__((always_inline, no_sanitize("address"), no_sanitize("thread"))) inline bool remember(
    place& here) noexcept {
    __asm__ goto(
        "leaq %l[back](%%rip), %%rax\n\t"
        "movq %%rax, 0(%%rdi)\n\t"
        "movq %%rsp, 8(%%rdi)\n\t"
        "movq %%rbp, 16(%%rdi)\n\t"
        "xorl %%eax, %%eax\n\t"
        "rdsspq %%rax\n\t"  // does nothing where there is no shadow stack
        "movq %%rax, 24(%%rdi)"
        :
        : "D"(&here)
        : "rax", "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc", "memory"
        : back);
    return true;
back:
    return false;
}

// The first thing to do behind a false of remember(): forget the calls that will not return, or the next return is
// taken for an attack.
__attribute__((always_inline, no_sanitize("address"), no_sanitize("thread"))) inline void settle(
    place const& here) noexcept {
    if (here.shadow == 0) return;
    std::uintptr_t now = 0;
    __asm__ volatile("rdsspq %0" : "+r"(now));
    for (; now != 0 && now < here.shadow; now += 8) __asm__ volatile("incsspq %0" : : "r"(std::uintptr_t{1}));
}

// Between functions the stack of the x87 unit is empty (psABI 3.2.1): what a fault has left on it would make numbers of
// later calculations invalid, and an exception that is not masked and still pending would be raised again by the next
// instruction of the unit. The control words, and the flags of masked exceptions, stay.
inline void clear_unit(fpregset_t unit) noexcept {
    if (unit == nullptr) return;
    constexpr unsigned flags = 0x3f;
    unit->swd = static_cast<std::uint16_t>(unit->swd & unit->cwd & flags);
    unit->ftw = 0;  // one bit a register, as FXSAVE has it: none is in use
}

// Where the thread goes on when the handler returns.
inline void send_to(place const& here, ucontext_t& context) noexcept {
    constexpr greg_t direction_flag = 0x400;  // clear between functions (psABI 3.2.1)
    auto& registers = context.uc_mcontext.gregs;
    registers[REG_RIP] = static_cast<greg_t>(here.pc);
    registers[REG_RSP] = static_cast<greg_t>(here.sp);
    registers[REG_RBP] = static_cast<greg_t>(here.frame);
    registers[REG_RDI] = reinterpret_cast<greg_t>(&here);
    registers[REG_EFL] &= ~direction_flag;
    clear_unit(context.uc_mcontext.fpregs);
}

}  // namespace tocsin::in_signal::machine
