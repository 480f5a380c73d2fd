// SPDX-License-Identifier: MIT
// How a thread is given an alternate stack by another one.
//
// Runs in the handler of a signal that is borrowed for the moment; see posix/running_threads.hpp. What sigaltstack(2)
// changes in a handler does not last: the return from it puts back what the kernel had written into the frame
// (arch/x86/kernel/signal_64.c and arch/arm64/kernel/signal.c, restore_altstack). So the frame is what is changed.
#pragma once

#include <signal.h>
#include <ucontext.h>

#include <tocsin/in_signal/atomic.hpp>
#include <tocsin/in_signal/system.hpp>

namespace tocsin::in_signal {

enum class offer_state : std::uint32_t {
    open,
    taken,      // by the thread, whose stack it is from now on
    declined,   // by the thread, which has one
    withdrawn,  // by the one who made it: the thread did not answer, or has ended
};

struct stack_offer {
    std::int32_t thread = 0;
    atomic<std::uint32_t> state;  // an offer_state; who changes it from open has decided
    void* lowest = nullptr;
    std::size_t size = 0;
};

// Never freed: a handler may look at it late.
struct stack_offers {
    stack_offer* first = nullptr;
    std::uint32_t count = 0;
    atomic<std::uint32_t> answered;
};

[[gnu::visibility("hidden")]] inline constinit atomic<stack_offers*> offered_stacks{nullptr};

[[gnu::visibility("hidden")]] inline void take_offered_stack(int, siginfo_t*, void* context) noexcept {
    stack_offers* const all = offered_stacks.load();
    if (all == nullptr || context == nullptr) return;
    std::int32_t const self = gettid();
    stack_t& interrupted = static_cast<ucontext_t*>(context)->uc_stack;
    bool const has_one = (interrupted.ss_flags & SS_DISABLE) == 0;
    auto const decision = static_cast<std::uint32_t>(has_one ? offer_state::declined : offer_state::taken);
    for (std::uint32_t i = 0; i < all->count; ++i) {
        stack_offer& mine = all->first[i];
        if (mine.thread != self ||
            !mine.state.replace(static_cast<std::uint32_t>(offer_state::open), decision))
            continue;
        if (!has_one) {
            interrupted.ss_sp = mine.lowest;
            interrupted.ss_size = mine.size;
            interrupted.ss_flags = 0;
        }
        all->answered.fetch_add(1);
        futex_wake(all->answered.address(), 1);
        return;
    }
}

}  // namespace tocsin::in_signal
