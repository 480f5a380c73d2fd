// SPDX-License-Identifier: MIT
// The registers that a walk up the stack starts from, and how to come by them.
//
// Runs in the handler. From a handler's ucontext all of them are known; from here() those that a function
// must keep for its caller; of a thread that only /proc tells about, no more than pc and sp. What is not
// known is marked so and never guessed silently.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <cstdint>

#include <tocsin/in_signal/memory.hpp>

#if defined(__x86_64__)
#include <tocsin/in_signal/registers_x86_64.hpp>
#elif defined(__aarch64__)
#include <tocsin/in_signal/registers_aarch64.hpp>
#else
#error "tocsin supports Linux on x86-64 and aarch64"
#endif

namespace tocsin::in_signal {

struct registers {
    std::uintptr_t value[machine::register_count];  // by DWARF number; machine:: names the few that matter
    std::uintptr_t pc;
    std::uint32_t known;  // bit n: value[n] is true
    bool signal_frame;    // pc is the instruction itself, and not the return address of a call

    bool knows(std::uint64_t number) const noexcept {
        return number < machine::register_count && ((known >> number) & 1U) != 0;
    }
    // What tables mean by a register; on x86-64 one number stands for the program counter.
    bool look_up(std::uint64_t number, std::uintptr_t& to) const noexcept {
        if (machine::return_is_column && number == machine::return_register) {
            to = pc;
            return true;
        }
        if (!knows(number)) return false;
        to = value[number];
        return true;
    }
    void set(unsigned number, std::uintptr_t to) noexcept {
        value[number] = to;
        known |= 1U << number;
    }
    void forget(unsigned number) noexcept { known &= ~(1U << number); }
    std::uintptr_t sp() const noexcept { return value[machine::stack_register]; }
};

// The general registers of a context, wherever its words came from.
inline registers registers_from(std::uintptr_t const* words) noexcept {
    registers all{};
    machine::load(words, all.value, all.pc);
    all.known = machine::all_registers;
    all.signal_frame = true;
    return all;
}

// The thread as it was interrupted.
inline registers registers_of(ucontext_t const& context) noexcept {
    std::uintptr_t words[machine::context_words];
    static_assert(sizeof(words) <= sizeof(context.uc_mcontext));
    __builtin_memcpy(words, &context.uc_mcontext, sizeof(words));
    return registers_from(words);
}

// The same from a place that may not hold a context at all. False, and `to` untouched, if it cannot be read.
inline bool registers_saved_at(std::uintptr_t context, careful_reader& memory, registers& to) noexcept {
    std::uintptr_t words[machine::context_words];
    if (!memory.read(context + offsetof(ucontext_t, uc_mcontext), words)) return false;
    to = registers_from(words);
    return true;
}

// A thread of which nothing else is known, as /proc/self/task/TID/syscall tells it.
inline registers registers_at(std::uintptr_t pc, std::uintptr_t sp) noexcept {
    registers few{};
    few.pc = pc;
    few.set(machine::stack_register, sp);
    few.signal_frame = true;
    return few;
}

// The function that this is written in. Of use only until that function returns.
__attribute__((always_inline)) inline registers here() noexcept {
    registers own{};
    own.pc = machine::capture(own.value);
    own.known = machine::captured;
    own.signal_frame = true;
    return own;
}

}  // namespace tocsin::in_signal
