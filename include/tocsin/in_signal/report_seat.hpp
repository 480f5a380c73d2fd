// SPDX-License-Identifier: MIT
// What every handler has to know of reports: whether one can be written, and by whom.
//
// Runs in the handler. A program without reports has nothing else of them.
#pragma once

#include <tocsin/in_signal/slot.hpp>

namespace tocsin::in_signal {

// What the memory of reports begins with. Made with it, and never changed: how a fault in the middle of a report is
// told from others; by a pointer, so that only programs with reports have that code.
struct report_seat {
    atomic<std::uint64_t> owner;  // process and thread that write, 0 if nobody
    atomic<std::uintptr_t> writer;  // thread pointer of the owner, and of who dies after its report
    atomic<std::uint64_t> next;   // process and thread that have waited longest, as far as is known
    atomic<std::uint32_t> crashes;  // that wait for their turn
    bool (*ends_a_step)(report_seat&, arrival&) noexcept;
};

inline report_seat* seat_of(table& in) noexcept {
    return static_cast<report_seat*>(__atomic_load_n(&in.capture_area, __ATOMIC_SEQ_CST));
}

// A fault in the middle of a report's step, or the end of the step's time. True if that is all that this signal is.
inline bool is_of_a_report(arrival& a) noexcept {
    report_seat* const seat = seat_of(*a.in);
    return seat != nullptr && seat->ends_a_step(*seat, a);
}

// From now on this thread's calls may be refused by SIGSYS as in a report; until it says that it goes on.
inline void begin_dying(table& in) noexcept {
    if (report_seat* const seat = seat_of(in)) seat->writer.store(thread_pointer());
}
inline void go_on_living(table& in) noexcept {
    if (report_seat* const seat = seat_of(in)) seat->writer.replace(thread_pointer(), 0);
}

}  // namespace tocsin::in_signal
