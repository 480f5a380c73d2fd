// SPDX-License-Identifier: MIT
// The real-time signal that the library keeps for itself.
//
// Runs on any ordinary thread. It asks threads to store their frames, and to open a signal that a full record made
// them mask. It is chosen at run time, because libc and other libraries keep signals for themselves too, and is
// claimed only while something needs it.
#pragma once

#include <tocsin/in_signal/report_turn.hpp>
#include <tocsin/in_signal/reserved.hpp>
#include <tocsin/posix/library.hpp>

namespace tocsin::posix {

// The library's reserved signal, while a guard needs it.
class reserved_claim {
  public:
    failure open(in_signal::table& in, std::uint64_t taken) noexcept {
        if (failure const refused = choose(in, taken)) return refused;
        number_ = in.reserved_signal.load();
        link_.run = &in_signal::run_reserved;
        link_.action = {in_signal::as_handler(in.operate->entry), SA_SIGINFO | SA_ONSTACK | SA_RESTART,
                        nullptr, all_but_faults(in)};
        failure const refused = claim_link(in, number_, link_);
        if (refused) number_ = 0;
        return refused;
    }
    void close(in_signal::table& in) noexcept {
        if (number_ == 0) return;
        if (in_signal::report_seat* const seat = in_signal::seat_of(in)) {
            in_signal::report_turn const nobody_asks{*seat};  // no report that is being written sends it any more
            withdraw(in);
        } else {
            withdraw(in);
        }
        number_ = 0;
    }

  private:
    void withdraw(in_signal::table& in) noexcept {
        discard_pending(in);
        in.operate->withdraw(in, number_, link_);
    }

    // A thread that blocks the signal may have it pending, and would die of it once the default is back. Ignoring a
    // signal discards it everywhere (POSIX, 2.4.3 "Signal Actions").
    void discard_pending(in_signal::table& in) noexcept {
        table_lock const locked{in};
        in_signal::link const* const below = link_.older.load();
        bool const last = in.slots[number_].newest.load() == &link_ && below != nullptr && !below->is_claim();
        in_signal::disposition live{};
        if (!last || read_disposition(number_, live) != 0 || live.handler != link_.action.handler) return;
        in_signal::disposition const ignored{SIG_IGN, 0, nullptr, 0};
        if (change_disposition(number_, ignored, live) == 0) link_.action = ignored;
    }

    // The last real-time signal that nobody has given a disposition to. Once it is claimed it stays; after the last
    // claim a program may want it for itself.
    static failure choose(in_signal::table& in, std::uint64_t taken) noexcept {
        table_lock const locked{in};
        int const current = in.reserved_signal.load();
        if (current != 0 && (is_claimed(in, current) || is_free(current, taken))) return {};
        for (int candidate = SIGRTMAX - 1; candidate > SIGRTMIN; --candidate) {
            if (!is_free(candidate, taken)) continue;
            in.reserved_signal.store(candidate);
            return {};
        }
        return {EBUSY, "sigaction", SIGRTMAX};
    }

    static bool is_claimed(in_signal::table& in, int signal) noexcept {
        in_signal::link const* const newest = in.slots[signal].newest.load();
        return newest != nullptr && newest->is_claim();
    }
    static bool is_free(int signal, std::uint64_t taken) noexcept {
        in_signal::disposition live{};
        return (taken & in_signal::bit_of(signal)) == 0 && read_disposition(signal, live) == 0 &&
               live.handler == SIG_DFL;
    }

    int number_ = 0;
    in_signal::link link_{};
};

}  // namespace tocsin::posix
