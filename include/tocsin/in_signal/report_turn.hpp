// SPDX-License-Identifier: MIT
// The right to write a report, of which the process has one.
//
// Runs in the handler, and on any ordinary thread. Whoever has it may send the library's reserved signal; whoever gives
// that signal's disposition back takes it first, so that no thread meets a signal that nobody answers.
#pragma once

#include <tocsin/in_signal/recover.hpp>
#include <tocsin/in_signal/registers.hpp>
#include <tocsin/in_signal/slot.hpp>
#include <tocsin/in_signal/stage_clock.hpp>

namespace tocsin::in_signal {

// What the memory of reports begins with.
struct report_seat {
    atomic<std::uint64_t> owner;  // process and thread that write, 0 if nobody
    atomic<std::uintptr_t> writer;  // thread pointer of the owner, and of who dies after its report
    atomic<std::uint32_t> crashes;  // that wait for their turn
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
    if (seat.writer.load_relaxed() != thread_pointer()) return false;
    machine::refuse_call(*a.context);
    return true;
}

// A fault in the middle of a report's step, or the end of the step's time. True if that is all that this signal is.
inline bool ends_a_step(report_seat& seat, arrival& a) noexcept {
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

inline report_seat* seat_of(table& in) noexcept {
    return static_cast<report_seat*>(__atomic_load_n(&in.capture_area, __ATOMIC_SEQ_CST));
}

// From now on this thread's calls may be refused by SIGSYS as in a report; until it says that it goes on.
inline void begin_dying(table& in) noexcept {
    if (report_seat* const seat = seat_of(in)) seat->writer.store(thread_pointer());
}
inline void go_on_living(table& in) noexcept {
    if (report_seat* const seat = seat_of(in)) seat->writer.replace(thread_pointer(), 0);
}

// Another thread's report is waited for, within bounds; one that a thread of another process began before fork is not.
class report_turn {
  public:
    // A crash goes before all others.
    explicit report_turn(report_seat& seat, bool crash = false) noexcept : seat_{seat} {
        if (crash) seat_.crashes.fetch_add(1);
        take(crash);
        if (crash) seat_.crashes.fetch_sub(1);
    }
    ~report_turn() {
        if (!taken_) return;
        seat_.writer.store(0);
        seat_.owner.store(0);
    }
    report_turn(report_turn const&) = delete;
    report_turn& operator=(report_turn const&) = delete;

    bool taken() const noexcept { return taken_; }
    // From a process that this one was forked from, in the middle of a report.
    bool inherited() const noexcept { return inherited_; }

    static bool is_mine(report_seat const& seat) noexcept { return seat.owner.load() == me(); }

  private:
    void take(bool crash) noexcept {
        constexpr int looks = 2000;
        for (int look = 0; look < looks; ++look) {
            std::uint64_t found = seat_.owner.load();
            bool const inherited = found != 0 && found >> 32 != me() >> 32;
            bool const mine = crash || seat_.crashes.load() == 0 || inherited;
            taken_ = mine && (found == 0 || inherited) && seat_.owner.compare_exchange(found, me());
            inherited_ = taken_ && inherited;
            if (taken_) seat_.writer.store(thread_pointer());
            if (taken_ || is_mine(seat_)) return;
            timespec const moment{0, crash ? 1'000'000 : 5'000'000};
            system_call(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, as_word(&moment), 0);
        }
    }

    static std::uint64_t me() noexcept {
        return static_cast<std::uint64_t>(getpid()) << 32 | static_cast<std::uint32_t>(gettid());
    }

    report_seat& seat_;
    bool taken_ = false;
    bool inherited_ = false;
};

}  // namespace tocsin::in_signal
