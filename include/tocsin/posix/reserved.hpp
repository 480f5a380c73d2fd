// SPDX-License-Identifier: MIT
// The real-time signal that the library keeps for itself.
//
// Runs on any ordinary thread. It asks threads to store their frames, and to open a signal that a full record made
// them mask. It is chosen at run time, because libc and other libraries keep signals for themselves too, and is
// claimed only while something needs it.
#pragma once

#include <tocsin/in_signal/reserved.hpp>
#include <tocsin/posix/library.hpp>

namespace tocsin::posix {

// The library's reserved signal, while a guard needs it.
class reserved_claim {
  public:
    failure open(in_signal::table& in, std::uint64_t taken) noexcept {
        if (in.reserved_signal.load() == 0)
            if (failure const refused = choose(in, taken)) return refused;
        number_ = in.reserved_signal.load();
        link_.run = &in_signal::run_reserved;
        link_.action = {in_signal::as_handler(in.operate->entry), SA_SIGINFO | SA_ONSTACK | SA_RESTART,
                        nullptr, all_but_faults(in)};
        if (failure const refused = in.operate->claim(in, number_, link_)) {
            number_ = 0;
            return refused;
        }
        return {};
    }
    void close(in_signal::table& in) noexcept {
        if (number_ != 0) in.operate->withdraw(in, number_, link_);
        number_ = 0;
    }

  private:
    // The last real-time signal that nobody has given a disposition to.
    static failure choose(in_signal::table& in, std::uint64_t taken) noexcept {
        for (int candidate = SIGRTMAX - 1; candidate > SIGRTMIN; --candidate) {
            in_signal::disposition live{};
            if ((taken & in_signal::bit_of(candidate)) != 0) continue;
            if (read_disposition(candidate, live) != 0 || live.handler != SIG_DFL) continue;
            in.reserved_signal.replace(0, candidate);
            return {};
        }
        return {EBUSY, "sigaction", SIGRTMAX};
    }

    int number_ = 0;
    in_signal::link link_{};
};

}  // namespace tocsin::posix
