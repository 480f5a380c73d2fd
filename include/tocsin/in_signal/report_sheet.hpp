// SPDX-License-Identifier: MIT
// What every form of a report writes with, and what it writes about.
//
// Runs in the handler.
#pragma once

#include <tocsin/delivery.hpp>
#include <tocsin/in_signal/describe.hpp>
#include <tocsin/in_signal/report_desk.hpp>
#include <tocsin/in_signal/report_order.hpp>
#include <tocsin/in_signal/stack_overflow.hpp>
#include <tocsin/in_signal/write.hpp>
#include <tocsin/signal.hpp>

namespace tocsin::in_signal {

struct report_sheet {
    table& in;
    report_desk& desk;
    report_order const& order;
    output& out;
    line& text;  // empty between two calls
    stack_overflow const* overflow = nullptr;  // if the crash is one

    bool is_crash() const noexcept { return order.why == occasion::crash; }
};

// What the thread that crashed said before; null if nothing. Ends within `longest_last_words`.
inline char const* last_words_for(report_sheet const& of) noexcept {
    last_words const& words = of.desk.words;
    return of.is_crash() && words.thread.load() == of.order.thread ? words.text : nullptr;
}

// A thread as it is shown. Borrowed for the one call.
struct thread_view {
    int thread;
    bool first;                          // the one that the report is about
    bool self;                           // the one that writes
    stack_source source;                 // why there is no stack, if there is none
    char const* name;                    // the kernel's, or the longer one of thread_guard
    std::size_t name_size;
    crash_note* crash = nullptr;         // it crashed too, and waits
    walk const* walked = nullptr;        // null: no stack
    frame const* frames = nullptr;
    stack_group const* group = nullptr;  // the others at the same place: all members, this one included

    // The number of a stored frame, counted from the innermost.
    std::size_t number_of(std::size_t place) const noexcept {
        return place < walked->inner ? place : place + walked->omitted;
    }
};

// What came at the end.
struct report_end {
    unsigned threads;
    int listing_error;  // the other threads could not be listed: an errno, or 0
};

// What is known of a frame, in pieces.
struct frame_view {
    std::uintptr_t pc;
    char const* name = nullptr;  // null: no symbol holds it
    std::size_t name_size = 0;
    std::uint64_t offset = 0;    // in the function
    char const* module = nullptr;  // path of the object; null: in no object
    std::uintptr_t in_module = 0;
};

inline frame_view view_of(report_desk const& desk, frame const& of) noexcept {
    frame_view shown{of.pc};
    std::uintptr_t const instruction = name_book::instruction(of);
    named_address const* const known = desk.names.find(instruction);
    if (known == nullptr) return shown;
    std::uintptr_t const behind = of.pc - instruction;
    if (known->name != nullptr) {
        shown.name = known->name;
        shown.name_size = known->name_size;
        shown.offset = known->offset + behind;
    }
    if (known->module == nullptr) return shown;
    shown.module = *known->module != '\0' ? known->module : desk.program;
    shown.in_module = known->in_module + behind;
    return shown;
}

// The part of a path behind the last slash, which the loader's memory may not hold any more.
inline void append_base_name(line& to, char const* path) noexcept {
    careful_reader memory;
    auto const at = reinterpret_cast<std::uintptr_t>(path);
    std::uintptr_t base = at;
    char c = '\0';
    constexpr std::size_t longest = 4096;
    std::size_t size = 0;
    for (; size < longest && memory.read(at + size, c) && c != '\0'; ++size)
        if (c == '/') base = at + size + 1;
    to.escaped(reinterpret_cast<char const*>(base), at + size - base);
}

// "SIGSEGV (address not mapped) at 0x0000000000000000".
inline line& append_cause(line& to, int signal, siginfo_t const& info) noexcept {
    delivery const what{signal, info};
    to.text(name(signal).c_str());
    char const* const reason = reason_of(signal, what.code());
    if (*reason != '\0') to.text(" (").text(reason).character(')');
    if (what.is_from_processor())
        to.text(" at ").address(reinterpret_cast<std::uintptr_t>(what.address()));
    else if (what.pid() != 0)
        to.text(" sent by process ").decimal(what.pid()).text(" of user ").decimal(what.uid());
    return to;
}

// Why threads that have not said anything of themselves are not shown.
inline char const* reason_for_no_list(int error) noexcept {
    switch (error) {
        case EMFILE:
        case ENFILE: return "no descriptor is free";
        case ESRCH:
        case ENOENT: return "/proc is not that of this process, or hidden";
        default: return "the kernel refuses to";
    }
}

// Why a thread has no stack.
inline char const* reason_for_silence(stack_source source) noexcept {
    return source == stack_source::blocked   ? "it runs with the library's signal blocked"
           : source == stack_source::refused ? "it could not be sent a signal"
           : source == stack_source::gone    ? "it has ended"
                                             : "it did not answer";
}

}  // namespace tocsin::in_signal
