// SPDX-License-Identifier: MIT
// The handler's part of a report: write it now, or ask the reporter thread to.
//
// Runs in the handler.
#pragma once

#include <tocsin/in_signal/hang_note.hpp>
#include <tocsin/in_signal/inbox.hpp>
#include <tocsin/in_signal/last_resort.hpp>
#include <tocsin/in_signal/report_target.hpp>
#include <tocsin/in_signal/report_turn.hpp>

namespace tocsin::in_signal {

inline void say(int fd, char const* text) noexcept { output{fd, write_patience}.write(text); }

inline void remember_crash(arrival& a, report_desk& desk) noexcept {
    first_crash& first = desk.first;
    first.signal = a.signal;
    first.info = *a.info;
    first.has_context = a.context != nullptr;
    if (a.context == nullptr) return;
    first.registers = a.context->uc_mcontext;
    first.mask = interrupted_mask(*a.context);
}

// A fault while this very thread was writing a report. If the report was about a signal, that is what the process goes
// on with, with the registers that it had then; otherwise the fault is a crash like any other, but for its report.
inline void give_up_report(arrival& a, report_desk& desk) noexcept {
    first_crash& first = desk.first;
    say(desk.fd, "\ntocsin: the report ended in a fault of its own\n");
    int const signal = first.signal;
    first.signal = 0;
    desk.owner.store(0);
    if (signal == 0) return;
    a.signal = signal;
    *a.info = first.info;
    if (a.context == nullptr || !first.has_context) return;
    a.context->uc_mcontext = first.registers;
    set_interrupted_mask(*a.context, first.mask);
}

// The thread whose crash has been reported is about to end the process; the others let it.
inline void let_first_crash_end() noexcept {
    timespec const moment{0, 200'000'000};
    system_call(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, as_word(&moment), 0);
}

// Writes the report before the row goes on.
template <class Form>
struct report_now {
    report_target* const* where;  // made when the guard is opened
    bool this_thread_only;
    bool with_registers;

    void operator()(arrival& a) const noexcept {
        report_desk* const desk = desk_of(*a.in);
        if (desk == nullptr || has_been_told(a)) return;
        if (report_turn::is_mine(*desk)) return give_up_report(a, *desk);
        bool const crash = is_fault(a.signal);
        registers const from = here();
        if (crash) {
            noted_crash note{desk->waiting, a};
            report_turn const turn{*desk, true};
            if (note.shown()) return let_first_crash_end();
            note.take_back();
            write(a, *desk, turn, from);
        } else {
            report_turn const turn{*desk};
            write(a, *desk, turn, from);
        }
    }

  private:
    // Rows and guards that would say the same in the same place are one report.
    bool has_been_told(arrival& a) const noexcept {
        for (void const*& told : a.told) {
            if (told == nullptr) {
                told = *where;
                return false;
            }
            if ((*where)->same_as(*static_cast<report_target const*>(told))) return true;
        }
        return false;
    }

    void write(arrival& a, report_desk& desk, report_turn const& turn, registers const& from) const noexcept {
        if (!turn.taken()) return say((*where)->usable_fd(), "tocsin: another report does not end\n");
        if (turn.inherited()) forget_report(desk);
        remember_crash(a, desk);
        report_order order;
        order.why = a.signal == 0 ? occasion::hang : is_fault(a.signal) ? occasion::crash : occasion::signal;
        order.this_thread_only = this_thread_only;
        order.with_registers = with_registers;
        order.signal = a.signal;
        order.thread = a.signal == 0 ? a.pid() : gettid();
        order.info = a.info;
        order.context = a.context;
        order.from = a.signal == 0 ? nullptr : &from;
        auto const* const hang = static_cast<hang_note const*>(a.signal == 0 ? a.info->si_lower : nullptr);
        if (hang != nullptr) order.hang = hang->unfed;
        if (hang != nullptr) order.watchdog = hang->name;
        desk.clock_signal = is_fault(a.signal) ? a.signal : 0;
        write_to_target(*a.in, desk, order, **where, &write_report<Form>);
        desk.clock_signal = 0;
        desk.first.signal = 0;
    }
};

// What a handler leaves for the reporter thread.
struct report_request {
    standard_record record;
    atomic<std::int32_t> taken_on;  // the thread that took the first of the signals
    atomic<std::int32_t> process;
    service* thread;
};

struct ask_for_report {
    report_request* const* request;  // made when the guard is opened

    void operator()(arrival& a) const noexcept {
        report_request& to = **request;
        if (a.place_of(to.process.load_relaxed()) != place::home) return;
        if (to.record.arrivals.load() == 0) to.taken_on.store(gettid());
        record_standard(to.record, delivery{a.signal, *a.info});
        if (to.thread->work.exchange(1) == 0) futex_wake(to.thread->work.address(), 1);
    }
};

}  // namespace tocsin::in_signal
