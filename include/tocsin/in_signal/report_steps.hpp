// SPDX-License-Identifier: MIT
// The steps of a report, each of which may fault or take too long without taking the report along.
//
// Runs in the handler.
#pragma once

#include <tocsin/in_signal/recover.hpp>
#include <tocsin/in_signal/registers.hpp>
#include <tocsin/in_signal/report_seat.hpp>
#include <tocsin/in_signal/stage_clock.hpp>

namespace tocsin::in_signal {

// The seat, and the steps of the report that is being written.
struct report_steps : report_seat {
    std::int32_t clock_signal;    // that ends a step which takes too long; 0: nothing does
    recovery steps;               // of whoever writes
    stage_memory clock;           // of one step
    stage_memory whole_clock;     // of the report
};

// A filter that answers a call of ours with SIGSYS (seccomp(2), SECCOMP_RET_TRAP) has refused it, and that is all: asks
// the kernel nothing, because that may be refused too.
inline bool refuses_a_call(report_seat const& seat, arrival& a) noexcept {
    constexpr int by_seccomp = 1;  // SYS_SECCOMP, which not every libc names
    if (a.signal != SIGSYS || a.info->si_code != by_seccomp || a.context == nullptr) return false;
    bool const writes = seat.writer.load_relaxed() == thread_pointer();
    if (!writes && faults_under_way(*a.in) == 0) return false;
    machine::refuse_call(*a.context);
    return true;
}

// A fault in the middle of a report's step, or the end of the step's time. True if that is all that this signal is.
inline bool ends_a_step(report_seat& here, arrival& a) noexcept {
    auto& seat = static_cast<report_steps&>(here);
    if (refuses_a_call(seat, a)) return true;
    if (a.context == nullptr) return false;
    if (end_stage(seat.steps, seat.whole_clock, *a.context)) return true;
    if (end_stage(seat.steps, seat.clock, *a.context)) return true;
    bool const by_abort =
        a.signal == SIGABRT && a.info->si_code == SI_TKILL && a.info->si_pid == a.pid();
    bool const of_its_own = by_abort || a.info->si_code > 0;
    if (of_its_own && step_back(seat.steps, *a.context)) return true;
    return is_stage_signal(seat.clock, *a.info) || is_stage_signal(seat.whole_clock, *a.info);
}

}  // namespace tocsin::in_signal
