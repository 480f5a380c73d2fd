// SPDX-License-Identifier: MIT
// What a report is to tell.
//
// Runs in the handler. An order borrows everything it points to until the report is written.
#pragma once

#include <signal.h>
#include <ucontext.h>

#include <tocsin/in_signal/registers.hpp>

namespace tocsin::in_signal {

inline constexpr std::uint64_t write_patience = 2'000'000'000;    // for all writing of a report, in ns
inline constexpr std::uint64_t capture_patience = 200'000'000;    // for one thread
inline constexpr std::uint64_t capture_budget = 2'000'000'000;    // for all threads that do not answer
inline constexpr std::uint64_t naming_budget = 2'000'000'000;     // for all names
inline constexpr std::uint64_t lines_budget = 3'000'000'000;      // for all source lines

enum class occasion : unsigned char { crash, signal, hang, request };

struct report_order {
    occasion why = occasion::request;
    bool this_thread_only = false;
    bool with_registers = true;      // of a thread that crashed
    int signal = 0;
    int thread = 0;                  // the one to show first; 0 for none
    siginfo_t const* info = nullptr;
    ucontext_t const* context = nullptr;  // of the calling thread, if it is the one to show first
    registers const* from = nullptr;      // the same for a thread that is in no handler
    std::uint64_t hang = 0;          // nanoseconds that nobody fed the watchdog
    char const* watchdog = nullptr;  // its name, if it has one
    char const* title = nullptr;     // the whole first line, if it is not one of those below
    std::uint64_t merged = 1;
};

}  // namespace tocsin::in_signal
