// SPDX-License-Identifier: MIT
// The right to write a report, of which the process has one.
//
// Runs in the handler, and on any ordinary thread. Whoever has it may send the library's reserved signal; whoever gives
// that signal's disposition back takes it first, so that no thread meets a signal that nobody answers.
#pragma once

#include <tocsin/in_signal/report_seat.hpp>

namespace tocsin::in_signal {

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
