// SPDX-License-Identifier: MIT
// The handler's part of a report: write it now, or ask the reporter thread to.
//
// Runs in the handler.
#pragma once

#include <tocsin/in_signal/inbox.hpp>
#include <tocsin/in_signal/report.hpp>
#include <tocsin/in_signal/report_target.hpp>

namespace tocsin::in_signal {

// The right to write a report. Another thread's report is waited for, within bounds; one that a thread of another
// process began before fork is not.
class report_turn {
  public:
    explicit report_turn(report_desk& desk) noexcept : desk_{desk} {
        constexpr int looks = 2000;
        for (int look = 0; look < looks && !taken_; ++look) {
            std::uint64_t found = desk_.owner.load();
            bool const free = found == 0 || found >> 32 != me() >> 32;
            taken_ = free && desk_.owner.compare_exchange(found, me());
            if (taken_) return;
            timespec const moment{0, 5'000'000};
            system_call(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, as_word(&moment), 0);
        }
    }
    ~report_turn() {
        if (taken_) desk_.owner.store(0);
    }
    report_turn(report_turn const&) = delete;
    report_turn& operator=(report_turn const&) = delete;

    bool taken() const noexcept { return taken_; }

    static std::uint64_t me() noexcept {
        return static_cast<std::uint64_t>(getpid()) << 32 | static_cast<std::uint32_t>(gettid());
    }

  private:
    report_desk& desk_;
    bool taken_ = false;
};

inline void say(int fd, char const* text) noexcept { output{fd, write_patience}.write(text); }

// A fault while this very thread was writing a report about another: the first one is what the process dies of,
// with the registers that it had then.
inline void return_to_first_crash(arrival& a, report_desk& desk, int fd) noexcept {
    say(fd, "\ntocsin: the report ended in a fault of its own\n");
    a.signal = desk.crash_signal;
    *a.info = desk.crash_info;
    if (a.context == nullptr) return;
    __builtin_memcpy(&a.context->uc_mcontext.gregs, &desk.crash_registers.gregs, sizeof desk.crash_registers.gregs);
    set_interrupted_mask(*a.context, desk.crash_mask);
}

inline void remember_crash(arrival& a, report_desk& desk) noexcept {
    desk.crash_signal = a.signal;
    desk.crash_info = *a.info;
    if (a.context == nullptr) return;
    desk.crash_registers = a.context->uc_mcontext;
    desk.crash_mask = interrupted_mask(*a.context);
}

// Writes the report before the row goes on.
struct report_now {
    report_target* const* where;  // made when the guard is opened
    bool this_thread_only;

    void operator()(arrival& a) const noexcept {
        report_desk* const desk = desk_of(*a.in);
        if (desk == nullptr || a.reported) return;
        report_target const* const target = *where;
        a.reported = true;
        if (desk->owner.load() == report_turn::me()) return return_to_first_crash(a, *desk, target->fd);
        report_turn const turn{*desk};
        if (!turn.taken()) return say(target->fd, "tocsin: another report does not end\n");
        remember_crash(a, *desk);
        registers const from = here();
        report_order order;
        order.why = a.signal == 0 ? occasion::hang : is_fault(a.signal) ? occasion::crash : occasion::signal;
        order.this_thread_only = this_thread_only;
        order.signal = a.signal;
        order.thread = a.signal == 0 ? a.pid() : gettid();
        order.info = a.info;
        order.context = a.context;
        order.from = a.signal == 0 ? nullptr : &from;
        if (a.signal == 0) order.hang = reinterpret_cast<std::uintptr_t>(a.info->si_value.sival_ptr);
        int const fd = open_report(*target);
        report{*a.in, *desk, order, fd}.write_all();
        close_report(*target, fd);
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
