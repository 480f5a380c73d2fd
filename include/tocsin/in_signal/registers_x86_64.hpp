// SPDX-License-Identifier: MIT
// The registers of x86-64 as unwind tables number them, and what a return address looks like.
//
// Runs in the handler. Source: the System V psABI for x86-64, figure 3.36 (DWARF register numbers), and the
// kernel's arch/x86/include/uapi/asm/sigcontext.h. Vector registers are left out: no table needs them to
// find a caller.
#pragma once

#include <errno.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdint>

namespace tocsin::in_signal::machine {

inline constexpr unsigned register_count = 17;
inline constexpr unsigned frame_register = 6;
inline constexpr unsigned named_registers = 16;
[[gnu::visibility("hidden")]] inline constexpr char pc_name[] = "rip";
[[gnu::visibility("hidden")]] inline constexpr char const* register_names[named_registers] = {
    "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"};
inline constexpr unsigned stack_register = 7;
inline constexpr unsigned return_register = 16;
inline constexpr bool return_is_column = true;  // no register: what tables call the return address

// What callers keep in registers that here() can know: rbx, rbp, rsp, r12 to r15.
inline constexpr std::uint32_t captured = 0xf0c8;
inline constexpr std::uint32_t all_registers = 0xffff;

// A call leaves the return address on the stack, so no caller can have the same stack pointer.
inline constexpr bool call_moves_stack = true;

// Where the kernel's ucontext lies above the stack pointer on entry to the signal return trampoline.
inline constexpr std::size_t context_above_stack = 0;

[[gnu::visibility("hidden")]] inline constexpr std::uint8_t context_index[16] = {
    REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP,
    REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

// The first words of mcontext_t, up to the instruction pointer.
inline constexpr std::size_t context_words = REG_RIP + 1;

inline void load(std::uintptr_t const* words, std::uintptr_t* value, std::uintptr_t& pc) noexcept {
    for (unsigned i = 0; i < 16; ++i) value[i] = words[context_index[i]];
    pc = words[REG_RIP];
}

// One statement, so that the values and the pc belong to the same instruction.
__attribute__((always_inline)) inline std::uintptr_t capture(std::uintptr_t* value) noexcept {
    std::uintptr_t pc;
    __asm__ volatile(
        "movq %%rbx, 24(%1)\n\t"
        "movq %%rbp, 48(%1)\n\t"
        "movq %%rsp, 56(%1)\n\t"
        "movq %%r12, 96(%1)\n\t"
        "movq %%r13, 104(%1)\n\t"
        "movq %%r14, 112(%1)\n\t"
        "movq %%r15, 120(%1)\n\t"
        "leaq 0(%%rip), %0"
        : "=r"(pc)
        : "r"(value)
        : "memory");
    return pc;
}

constexpr std::uintptr_t without_signature(std::uintptr_t address) noexcept { return address; }

// mov $15, %rax; syscall: what sigaction(2) names as the restorer, in glibc and musl alike.
[[gnu::visibility("hidden")]] inline constexpr unsigned char trampoline[] = {
    0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05};

inline constexpr std::size_t longest_call = 7;

// `before` holds the 7 bytes in front of a supposed return address. True if they can end with a call:
// E8 and a displacement, or FF /2 with any addressing mode. It tells return addresses from numbers.
constexpr bool ends_with_call(unsigned char const* before) noexcept {
    if (before[2] == 0xe8) return true;
    for (unsigned length = 2; length <= longest_call; ++length) {
        unsigned char const* const code = before + longest_call - length;
        if (code[0] != 0xff || ((code[1] >> 3) & 7) != 2) continue;
        unsigned const mode = code[1] >> 6;
        unsigned const base = code[1] & 7;
        unsigned needed = 2 + (mode == 1 ? 1U : mode == 2 ? 4U : 0U);
        if (mode != 3 && base == 4) ++needed;  // a scale-index-base byte follows
        if (mode == 0 && base == 5) needed += 4;
        if (mode == 0 && base == 4 && length > 2 && (code[2] & 7) == 5) needed += 4;
        if (needed == length) return true;
    }
    return false;
}

inline std::uintptr_t relative_to(std::uintptr_t base, unsigned char const* displacement) noexcept {
    std::int32_t distance = 0;
    __builtin_memcpy(&distance, displacement, sizeof(distance));
    return base + static_cast<std::uintptr_t>(std::intptr_t{distance});
}

// Where a direct call in front of `back` leads; 0 if it is none.
inline std::uintptr_t call_target(unsigned char const* before, std::uintptr_t back) noexcept {
    return before[2] == 0xe8 ? relative_to(back, before + 3) : 0;
}

// The pointer that `call *slot(%rip)` in front of `back` goes through; 0 if it is another call.
inline std::uintptr_t call_slot(unsigned char const* before, std::uintptr_t back) noexcept {
    return before[1] == 0xff && before[2] == 0x15 ? relative_to(back, before + 3) : 0;
}

// The same of an entry of a procedure table: [endbr64] [bnd] jmp *slot(%rip).
inline constexpr std::size_t longest_stub = 12;

inline std::uintptr_t stub_slot(unsigned char const* code, std::uintptr_t at) noexcept {
    std::size_t i = code[0] == 0xf3 && code[1] == 0x0f && code[2] == 0x1e && code[3] == 0xfa ? 4 : 0;
    if (code[i] == 0xf2) ++i;
    return code[i] == 0xff && code[i + 1] == 0x25 ? relative_to(at + i + 6, code + i + 2) : 0;
}

// What the interrupted system call answers once the handler returns.
inline void refuse_call(ucontext_t& context) noexcept {
    context.uc_mcontext.gregs[REG_RAX] = -ENOSYS;
}

}  // namespace tocsin::in_signal::machine
