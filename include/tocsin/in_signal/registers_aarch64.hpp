// SPDX-License-Identifier: MIT
// The registers of aarch64 as unwind tables number them, and what a return address looks like.
//
// Runs in the handler. Source: "DWARF for the Arm 64-bit Architecture" (AADWARF64), section 4.1, and the
// kernel's arch/arm64/include/uapi/asm/sigcontext.h. Vector registers are left out: no table needs them to
// find a caller.
#pragma once

#include <errno.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdint>

namespace tocsin::in_signal::machine {

inline constexpr unsigned register_count = 32;
inline constexpr unsigned frame_register = 29;
inline constexpr unsigned named_registers = 32;
[[gnu::visibility("hidden")]] inline constexpr char pc_name[] = "pc";
[[gnu::visibility("hidden")]] inline constexpr char const* register_names[named_registers] = {
    "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7",
    "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
    "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23",
    "x24", "x25", "x26", "x27", "x28", "x29", "x30", "sp"};
inline constexpr unsigned return_register = 30;  // the link register
inline constexpr bool return_is_column = false;
inline constexpr unsigned stack_register = 31;

// What callers keep in registers that here() can know: x19 to x30 and sp.
inline constexpr std::uint32_t captured = 0xfff8'0000;
inline constexpr std::uint32_t all_registers = 0xffff'ffff;

// A function that saves nothing leaves the stack pointer as its caller had it.
inline constexpr bool call_moves_stack = false;

// struct rt_sigframe starts with a siginfo_t of 128 bytes (arch/arm64/kernel/signal.c).
inline constexpr std::size_t context_above_stack = 128;

// The first words of mcontext_t: the fault address, x0 to x30, sp, pc. What follows are 4 KiB of vector
// registers, too many to copy on an alternate stack.
inline constexpr std::size_t context_words = 34;

inline void load(std::uintptr_t const* words, std::uintptr_t* value, std::uintptr_t& pc) noexcept {
    for (unsigned i = 0; i < register_count; ++i) value[i] = words[i + 1];
    pc = words[33];
}

// One statement, so that the values and the pc belong to the same instruction.
__attribute__((always_inline)) inline std::uintptr_t capture(std::uintptr_t* value) noexcept {
    std::uintptr_t pc;
    __asm__ volatile(
        "stp x19, x20, [%1, #152]\n\t"
        "stp x21, x22, [%1, #168]\n\t"
        "stp x23, x24, [%1, #184]\n\t"
        "stp x25, x26, [%1, #200]\n\t"
        "stp x27, x28, [%1, #216]\n\t"
        "stp x29, x30, [%1, #232]\n\t"
        "mov %0, sp\n\t"
        "str %0, [%1, #248]\n\t"
        "adr %0, ."
        : "=&r"(pc)
        : "r"(value)
        : "memory");
    return pc;
}

// Takes the pointer authentication code off. The instruction (xpaclri) is a hint that processors without
// the feature pass over.
inline std::uintptr_t without_signature(std::uintptr_t address) noexcept {
    register std::uintptr_t x30 __asm__("x30") = address;
    __asm__("hint #7" : "+r"(x30));
    return x30;
}

// mov x8, #139; svc #0: the trampoline of the kernel's vdso, which has had no unwind table since 5.8
// (arch/arm64/kernel/vdso/sigreturn.S tells why).
[[gnu::visibility("hidden")]] inline constexpr unsigned char trampoline[] = {
    0x68, 0x11, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4};

inline constexpr std::size_t longest_call = 4;

constexpr std::uint32_t instruction(unsigned char const* at) noexcept {
    std::uint32_t code = 0;
    for (unsigned i = longest_call; i > 0; --i) code = code << 8 | at[i - 1];
    return code;
}

// `before` holds the instruction in front of a supposed return address. True for BL, BLR and the
// authenticating kinds of BLR. It tells return addresses from numbers.
constexpr bool ends_with_call(unsigned char const* before) noexcept {
    std::uint32_t const code = instruction(before);
    return (code & 0xfc00'0000) == 0x9400'0000 || (code & 0xffff'fc1f) == 0xd63f'0000 ||
           (code & 0xfeff'f800) == 0xd63f'0800;
}

// Where a direct call in front of `back` leads; 0 if it is none.
constexpr std::uintptr_t call_target(unsigned char const* before, std::uintptr_t back) noexcept {
    std::uint32_t const code = instruction(before);
    if ((code & 0xfc00'0000) != 0x9400'0000) return 0;
    std::uint32_t const words = code & 0x03ff'ffff;
    std::intptr_t const signed_words = std::intptr_t{words} - ((words & 0x0200'0000) != 0 ? 0x0400'0000 : 0);
    return back - longest_call + static_cast<std::uintptr_t>(signed_words) * 4;
}

// No call goes through a pointer at a fixed place.
constexpr std::uintptr_t call_slot(unsigned char const*, std::uintptr_t) noexcept { return 0; }

// The pointer that an entry of a procedure table goes through: [bti c] adrp x16, slot; ldr x17, [x16, …].
inline constexpr std::size_t longest_stub = 12;

constexpr std::uintptr_t stub_slot(unsigned char const* code, std::uintptr_t at) noexcept {
    if (instruction(code) == 0xd503'245f) {
        code += 4;
        at += 4;
    }
    std::uint32_t const page = instruction(code);
    std::uint32_t const load = instruction(code + 4);
    if ((page & 0x9f00'001f) != 0x9000'0010 || (load & 0xffc0'03ff) != 0xf940'0211) return 0;
    std::uintptr_t pages = ((page >> 5 & 0x7ffff) << 2) | (page >> 29 & 3);
    if ((pages & 0x10'0000) != 0) pages |= ~std::uintptr_t{0x1f'ffff};
    return (at & ~std::uintptr_t{4095}) + pages * 4096 + (load >> 10 & 0xfff) * 8;
}

// What the interrupted system call answers once the handler returns.
inline void refuse_call(ucontext_t& context) noexcept {
    context.uc_mcontext.regs[0] = static_cast<unsigned long long>(-ENOSYS);
}

}  // namespace tocsin::in_signal::machine
