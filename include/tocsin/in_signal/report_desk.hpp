// SPDX-License-Identifier: MIT
// The memory of reports, one for the process.
//
// Runs in the handler. It is mapped when a report first becomes possible and stays; pages that no report has touched
// cost address space and nothing else.
#pragma once

#include <tocsin/in_signal/capture.hpp>
#include <tocsin/in_signal/crash_note.hpp>
#include <tocsin/in_signal/lines.hpp>
#include <tocsin/in_signal/names.hpp>
#include <tocsin/in_signal/report_steps.hpp>
#include <tocsin/in_signal/stack_groups.hpp>

namespace tocsin::in_signal {

// The signal that is being reported, in case the report crashes too.
struct first_crash {
    int signal;  // 0: there is none
    bool has_context;
    siginfo_t info;
    mcontext_t registers;
    kernel_set mask;
};

// What a thread said before it ended the process: the message of fatal(), the exception that nobody caught.
inline constexpr std::size_t longest_last_words = 1024;

struct last_words {
    atomic<std::int32_t> thread;    // 0: nobody has said anything
    char text[longest_last_words];  // as it is; escaped where it is written
};

struct report_desk : report_steps {
    atomic<std::uint32_t> claimed;  // the reserved signal is claimed for good
    line_place lines;               // who knows source lines
    int fd;                         // of the report that is being written
    first_crash first;
    last_words words;
    crash_board waiting;
    char program[256];              // path of the program's file
    stack first_stack;              // of the thread that is shown first
    stack current;
    capture_desk captures;
    stack_groups groups;
    name_book names;
    char gathered[4096];
    char long_line[65536];          // for forms whose lines hold a whole stack
};

inline report_desk* desk_of(table& in) noexcept {
    return static_cast<report_desk*>(seat_of(in));
}

// What the threads of the process that this one was forked from were about.
inline void forget_report(report_desk& desk) noexcept {
    desk.first.signal = 0;
    desk.clock_signal = 0;
    desk.steps = {};
    desk.words.thread.store(0);
    desk.waiting.clear();
    for (capture_request& each : desk.captures.requests) each.state.store(request_free);
    forget_requests(desk.captures);
}

}  // namespace tocsin::in_signal
