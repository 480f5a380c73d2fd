// SPDX-License-Identifier: MIT
// The right to write a report, of which the process has one.
//
// Runs in the handler, and on any ordinary thread. Whoever has it may send the library's reserved signal; whoever gives
// that signal's disposition back takes it first, so that no thread meets a signal that nobody answers.
#pragma once

#include <tocsin/in_signal/report_seat.hpp>

namespace tocsin::in_signal {

// Another thread's report is waited for, within bounds; one that a thread of another process began before fork is not.
// Who waits is the next: a thread that writes one report after the other does not keep all others from it.
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
            if (look != 0) nap(crash ? 1'000'000 : 5'000'000);
            std::uint64_t found = seat_.owner.load();
            if (found == self_) break;
            bool const inherited = is_foreign(found);
            bool const mine = crash || inherited || (seat_.crashes.load() == 0 && !is_promised(found == 0));
            taken_ = mine && (found == 0 || inherited) && seat_.owner.compare_exchange(found, self_);
            inherited_ = taken_ && inherited;
            if (taken_) break;
        }
        if (taken_) seat_.writer.store(thread_pointer());
        seat_.next.replace(self_, 0);
    }

    // False if this thread is the next one, or has become it. A turn that is free and not taken for some time was
    // promised to a thread that will not come: its handler was left by siglongjmp(3).
    bool is_promised(bool free) noexcept {
        std::uint64_t const next = seat_.next.load();
        if (next == self_) return false;
        if (free && next != 0) --courtesy_;
        bool const vacant = next == 0 || is_foreign(next) || courtesy_ <= 0;
        return !(vacant && seat_.next.replace(next, self_));
    }

    bool is_foreign(std::uint64_t thread) const noexcept { return thread != 0 && thread >> 32 != self_ >> 32; }

    static std::uint64_t me() noexcept {
        return static_cast<std::uint64_t>(getpid()) << 32 | static_cast<std::uint32_t>(gettid());
    }

    report_seat& seat_;
    std::uint64_t const self_ = me();
    int courtesy_ = 100;  // looks, half a second
    bool taken_ = false;
    bool inherited_ = false;
};

}  // namespace tocsin::in_signal
