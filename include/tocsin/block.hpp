// SPDX-License-Identifier: MIT
// `block<SIG…>`: signals wait while a scope runs.
#pragma once

#include <tocsin/error.hpp>
#include <tocsin/on.hpp>
#include <tocsin/posix/mask.hpp>
#include <tocsin/posix/refusal.hpp>

namespace tocsin {

// Adds signals to the calling thread's mask; the destructor, which has to run on the same thread, puts the mask back
// that was there. Blocks nest. What arrives meanwhile is pending and is delivered afterwards, standard signals once.
// New threads inherit the mask. Fault signals are refused: a fault while its signal is blocked ends the process
// without any handler being called.
template <auto... Signals>
class [[nodiscard]] block {
    using checked = decltype(detail::check_signals<Signals...>());
    static constexpr bool no_fault = (!detail::names_a_fault<Signals>() && ...);
    static_assert(no_fault, "tocsin: a fault whose signal is blocked ends the process without a report; "
                            "leave faults open");

  public:
    // Throws tocsin::error (EINVAL) for a real-time signal that this system does not have.
    block() : mask_{set()} {
        if (failure const refused = mask_.refused()) posix::fail(refused);
    }

  private:
    static posix::signals_in set() noexcept {
        int const all[] = {static_cast<int>(Signals)...};
        posix::signals_in set;
        for (int const signal : all) set.add(signal);
        return set;
    }

    posix::mask mask_;
};

}  // namespace tocsin
