// SPDX-License-Identifier: MIT
// Where an instruction comes from in the source: what a report asks, and what answers.
//
// Runs in the handler. Only types and the call through them: the reader of debug information is other people's code,
// which no check of ours follows, so a report asks it last, when everything else has been written, and is prepared for
// a fault or a hang inside it.
#pragma once

#include <cstdint>

#include <tocsin/in_signal/atomic.hpp>

namespace tocsin::in_signal {

// Answers to one question: calls that were inlined into each other, and the function that holds them.
inline constexpr unsigned most_lines = 64;

// One place in the source. The texts end with a zero, may be of any length, come from a file and are not to be trusted:
// print them escaped. They last until the callback returns.
struct line_answer {
    char const* file;      // as the compiler was given it, behind its directory; never null
    int line;              // 0: code that the compiler made up
    char const* function;  // mangled where the language mangles; null if not known
};

using take_line = void (*)(void* to, line_answer const& one) noexcept;

// Calls `take` for each place that `instruction` belongs to: inlined calls first, the innermost before the one that it
// was inlined into, the function that really holds the instruction last; most_lines at most, the first of them. For a
// caller `instruction` lies inside the call: one less than the return address. Answers false, without a call, if no
// place is known.
using find_lines = bool (*)(void* state, std::uintptr_t instruction, take_line take, void* to) noexcept;

// Who answers. Once published it lasts as long as the process.
struct line_source {
    find_lines find;
    void* state;
};

// Null: nobody was asked to read lines.
using line_place = atomic<line_source const*>;

// The same for a function object `take(line_answer const&)`. False also if there is nobody to ask.
template <class Take>
bool each_line(line_source const* source, std::uintptr_t instruction, Take take) noexcept {
    static_assert(noexcept(take(line_answer{})));
    if (source == nullptr) return false;
    take_line const forward = [](void* to, line_answer const& one) noexcept {
        (*static_cast<Take*>(to))(one);
    };
    return source->find(source->state, instruction, forward, &take);
}

}  // namespace tocsin::in_signal
