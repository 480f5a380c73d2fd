// SPDX-License-Identifier: MIT
// C++ names as people write them, without a heap.
//
// Runs in the handler. abi::__cxa_demangle allocates: a report about a broken heap would hang in it. This
// one works in memory that the caller provides (10 KiB), prints what GCC's prints, and has bounded time,
// stack and output. A name with anything in it that is not understood to the last character is refused and
// best shown as it is; a wrong name is never made up. Refused are expressions in signatures (decltype,
// enable_if written out) other than a parameter alone, Clang's block names, and names of more than 1024 parts.
#pragma once

#include <tocsin/in_signal/demangle_names.hpp>
#include <tocsin/in_signal/demangle_print.hpp>
#include <tocsin/in_signal/demangle_types.hpp>

namespace tocsin::in_signal {

// What the two recursions may use of the stack; deeper names are refused.
inline constexpr std::size_t demangle_stack = 8 * 1024;

enum class demangled {
    refused,  // nothing is said about the output
    cut,      // the output holds the begin of the name
    whole,
};

// Writes up to `capacity` characters, without a zero at the end, and their number to `written`.
inline demangled demangle(char const* mangled, std::size_t size, demangle_tree& memory, char* out,
                          std::size_t capacity, std::size_t& written,
                          std::size_t stack = demangle_stack) noexcept {
    stack_budget const budget{stack};
    memory.clear();
    written = 0;
    part_number const whole = demangle_parser{memory, mangled, size, budget}.mangled_name();
    if (whole == 0) return demangled::refused;
    demangle_printer printer{memory, mangled, out, capacity, budget};
    printer.print(whole);
    if (printer.failed() || printer.size() == 0) return demangled::refused;
    written = printer.size();
    return printer.cut() ? demangled::cut : demangled::whole;
}

}  // namespace tocsin::in_signal
