// SPDX-License-Identifier: MIT
// The place in the code that a thread can be put back to, on aarch64.
//
// Runs in the handler. Source: the "Procedure Call Standard for the Arm 64-bit Architecture" (AAPCS64), section 6.1
// (registers); asm goto of the compilers' extended assembly.
#pragma once

#include <ucontext.h>

#include <cstdint>

namespace tocsin::in_signal::machine {

struct place {
    std::uintptr_t pc;
    std::uintptr_t sp;
    std::uintptr_t frame;
    std::uintptr_t platform;  // x18, where some builds keep a second stack of return addresses
};

// True when it is passed; false when the thread has been put back here. The compiler sees the jump to `back` as one
// that this statement may make, and is told that it leaves no register alone. Four it may rely on all the same, and
// those are put back: sp, the frame pointer, x18 and x0. What a caller keeps in x19 to x28 and d8 to d15 is therefore
// in the frame of the function that this is written in, and so is the return address. It must be a function that is
// not inlined, and use nothing behind `back` but constants and the place: the compiler may have given any other slot
// of the frame away meanwhile.
__attribute__((always_inline, no_sanitize("address"), no_sanitize("thread"))) inline bool remember(
    place& here) noexcept {
    register place* x0 __asm__("x0") = &here;
    __asm__ goto(
        "adrp x9, %l[back]\n\t"  // and not adr: `back` may be moved to the section of cold code
        "add x9, x9, :lo12:%l[back]\n\t"
        "mov x10, sp\n\t"
        "stp x9, x10, [x0]\n\t"
        "stp x29, x18, [x0, #16]"
        :
        : "r"(x0)
        : "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16",
          "x17", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x30", "d8", "d9", "d10",
          "d11", "d12", "d13", "d14", "d15", "cc", "memory"
        : back);
    return true;
back:
    return false;
}

inline void settle(place const&) noexcept {}

// Where the thread goes on when the handler returns.
inline void send_to(place const& here, ucontext_t& context) noexcept {
    // PSTATE.BTYPE is set by an indirect call to a place that faults; the target of the next branch would be checked
    // against it, and `back` is no such target.
    constexpr auto branch_type = static_cast<decltype(context.uc_mcontext.pstate)>(0xc00);
    auto& registers = context.uc_mcontext;
    registers.pc = here.pc;
    registers.sp = here.sp;
    registers.regs[29] = here.frame;
    registers.regs[18] = here.platform;
    registers.regs[0] = reinterpret_cast<std::uintptr_t>(&here);
    registers.pstate &= ~branch_type;
}

}  // namespace tocsin::in_signal::machine
