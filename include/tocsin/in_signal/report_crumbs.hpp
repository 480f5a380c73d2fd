// SPDX-License-Identifier: MIT
// What threads say of themselves, for a report.
//
// Runs in the handler.
#pragma once

#include <tocsin/in_signal/report_sheet.hpp>
#include <tocsin/in_signal/report_step.hpp>
#include <tocsin/in_signal/thread_record.hpp>

namespace tocsin::in_signal {

// Visits the breadcrumbs of a thread, innermost first; answers how many there are. A thread that pops them meanwhile
// may take the memory of its stack along: that fault costs this thread's breadcrumbs.
template <class Visit>
unsigned each_crumb_of(report_sheet& to, int thread, Visit const& visit) noexcept {
    thread_record const* const record = record_of(to.in, thread);
    if (record == nullptr) return 0;
    unsigned all = 0;
    step(to.desk, capture_patience, [&]() noexcept {
        careful_reader memory;
        all = each_crumb(*record, memory, visit);
    });
    return all;
}

inline bool has_crumbs(table const& in, int thread) noexcept {
    thread_record const* const record = record_of(in, thread);
    return record != nullptr && record->innermost.load_acquire() != nullptr;
}

}  // namespace tocsin::in_signal
