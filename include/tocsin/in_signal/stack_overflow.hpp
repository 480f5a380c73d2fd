// SPDX-License-Identifier: MIT
// Whether a memory fault is the overflow of a stack, and of which.
//
// Runs in the handler. A fault is one if the stack pointer has come to the lower end of a stack and the address lies
// below that end, not far from the stack pointer. A wild pointer is not: it has nothing to do with the stack pointer.
// Where a thread has left word of its bounds (`thread_record`), those count. Otherwise the kernel is asked page by
// page where memory begins again, and /proc/self/maps what that is and where it ends: for the first thread at its
// limit, threads that left no word, stacks of coroutines. Guards of all kinds count, also those that are no mappings
// (madvise(2), MADV_GUARD_INSTALL). A stack without a guard overflows without a fault.
#pragma once

#include <tocsin/in_signal/memory.hpp>
#include <tocsin/in_signal/mappings.hpp>
#include <tocsin/in_signal/thread_record.hpp>

namespace tocsin::in_signal {

struct stack_overflow {
    bool happened = false;
    std::uintptr_t lowest = 0;   // of what may be used
    std::uintptr_t highest = 0;  // 0 if unknown

    // Bytes; 0 if unknown. Of a thread without a record those of the mapping, which can hold more than the stack.
    std::size_t size() const noexcept { return highest != 0 ? highest - lowest : 0; }
};

namespace detail {

// How far below the stack pointer an instruction writes: a push, a call, the red zone of x86-64, the 512 bytes of an
// AArch64 store that moves the pointer only if it succeeds, with some to spare.
inline constexpr std::uintptr_t below_pointer = 4096;
// The largest frame that is looked for: a function can step over its guard at once.
inline constexpr std::uintptr_t largest_frame = 64U << 20;
inline constexpr std::uintptr_t smallest_page = 4096;

// The soft limit of the first thread's stack in bytes (prlimit(2)); 0 if there is none or it cannot be had.
inline std::uintptr_t stack_limit() noexcept {
    constexpr long resource_stack = 3;
    struct {
        std::uint64_t soft, hard;
    } limit{};
    if (system_call(SYS_prlimit64, 0, resource_stack, 0, as_word(&limit)) != 0) return 0;
    return limit.soft == ~std::uint64_t{0} ? 0 : limit.soft;
}

inline bool has_name(mapping const& of, char const* name) noexcept {
    for (std::size_t i = 0;; ++i) {
        if (of.path[i] != name[i]) return false;
        if (name[i] == '\0') return true;
    }
}

// What the stack is that begins at `found.lowest`. It did not happen if that is no memory for stacks.
inline void find_mapping(stack_overflow& found, std::uintptr_t fault) noexcept {
    each_mapping([&](mapping const& each) noexcept {
        if (found.lowest < each.begin || each.end <= found.lowest) return false;
        found.happened = each.writable && each.anonymous && !has_name(each, "[heap]");
        found.highest = each.end;
        if (!has_name(each, "[stack]")) return true;
        // The kernel lets it grow by as much as is touched; what counts is how far it would have.
        std::uintptr_t const limit = stack_limit();
        bool const at_limit = limit != 0 && limit < each.end && fault < each.end - limit;
        if (at_limit && each.end - limit < found.lowest) found.lowest = each.end - limit;
        return true;
    });
}

inline stack_overflow look_for_end(std::uintptr_t fault, std::uintptr_t sp) noexcept {
    stack_overflow found;
    std::uintptr_t const page = fault & ~(smallest_page - 1);
    if (page == 0 || readable(page)) return found;
    for (std::uintptr_t at = page + smallest_page; at - page <= largest_frame && at > page; at += smallest_page) {
        if (!readable(at)) continue;
        found.lowest = at;
        // A stack pointer below the end stands in the same gap, or the end is that of the next stack above.
        found.happened = sp >= at || !readable(sp);
        if (found.happened) find_mapping(found, fault);
        break;
    }
    return found.happened ? found : stack_overflow{};
}

}  // namespace detail

// Of a SIGSEGV (or SIGBUS) at address `fault`, by a thread whose stack pointer was `sp`. `of` is the thread's record,
// null if it has none.
inline stack_overflow find_overflow(thread_record const* of, std::uintptr_t fault, std::uintptr_t sp) noexcept {
    if (fault - (sp - detail::below_pointer) > detail::below_pointer + detail::largest_frame) return {};
    if (of == nullptr || !of->stack.known()) return detail::look_for_end(fault, sp);
    stack_bounds const& stack = of->stack;
    // On another stack of the same thread, or beyond its guard.
    if (sp < stack.lowest - stack.guard || sp > stack.highest) {
        stack_overflow found = detail::look_for_end(fault, sp);
        if (found.lowest == stack.lowest) found.highest = stack.highest;
        // or a frame stepped over the guard, and what is found is a neighbour's memory
        else if (sp < stack.lowest && stack.lowest - sp < detail::largest_frame) found.highest = 0;
        return found;
    }
    if (fault >= stack.lowest || fault < stack.lowest - stack.guard - detail::below_pointer) return {};
    return {true, stack.lowest, stack.highest};
}

}  // namespace tocsin::in_signal
