// SPDX-License-Identifier: MIT
// The function that the kernel calls for every signal of every guard.
//
// Runs in the handler, on the alternate stack where the thread has one. It keeps errno, marks the thread as
// inside the slot, and walks the chain of claims from the newest until one says that it is enough; at the end
// of the chain stands the disposition that was there before.
#pragma once

#include <errno.h>

#include <tocsin/in_signal/owner.hpp>
#include <tocsin/in_signal/report_seat.hpp>
#include <tocsin/in_signal/held.hpp>
#include <tocsin/in_signal/reraise.hpp>
#include <tocsin/in_signal/slot.hpp>

namespace tocsin::in_signal {

// The table, once this copy of the library has found it. Hidden, as is every function that reads or writes it: where a
// program exports its symbols, the dynamic linker would mix the copies, and one's function would look at its own.
[[gnu::visibility("hidden")]] inline atomic<table*> the_table;

// The note that a foreign handler is being called from a chain; see `mark`.
class foreign_call {
  public:
    foreign_call(arrival& a, link const& called) noexcept : table_{*a.in} {
        for (mark& candidate : table_.marks) {
            if (!candidate.thread.replace(0, thread_pointer())) continue;
            mark_ = &candidate;
            mark_->frame = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
            mark_->info = a.info;
            mark_->context = a.context;
            mark_->called = &called;
            table_.marks_set.fetch_add(1);
            return;
        }
    }
    ~foreign_call() {
        if (mark_ != nullptr) erase(table_, *mark_);
    }
    foreign_call(foreign_call const&) = delete;
    foreign_call& operator=(foreign_call const&) = delete;

    static void erase(table& in, mark& which) noexcept {
        which.thread.store(0);
        in.marks_set.fetch_sub(1);
    }

  private:
    table& table_;
    mark* mark_ = nullptr;
};

// The kernel puts the siginfo a few kilobytes above the handler's frame.
inline bool fresh_from_kernel(arrival const& a, std::uintptr_t frame) noexcept {
    constexpr std::uintptr_t largest_frame = 32768;
    return reinterpret_cast<std::uintptr_t>(a.info) - frame < largest_frame;
}

// The frame of whoever begins with a delivery: what a foreign handler is called from lies below it, and a foreign
// handler that calls us above it.
[[gnu::always_inline]] inline std::uintptr_t frame_here() noexcept {
    return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
}

// The foreign handler of this slot that is calling us right now, or null: of several, the innermost. A mark whose
// frame lies below ours was left by a handler that never returned (siglongjmp): it is cleared.
__attribute__((noinline, cold)) inline link const* calling(arrival& a, slot& of, std::uintptr_t frame) noexcept {
    std::uintptr_t const self = thread_pointer();
    mark const* innermost = nullptr;
    for (mark& candidate : a.in->marks) {
        if (candidate.thread.load() != self) continue;
        if (candidate.frame <= frame) {
            foreign_call::erase(*a.in, candidate);
            continue;
        }
        bool const of_this_slot = candidate.called >= of.foreign && candidate.called < of.foreign + foreign_links;
        // A handler may pass on a siginfo of its own making; the context is the kernel's all the same.
        bool const same = candidate.info == a.info || (a.context != nullptr && candidate.context == a.context);
        if (!of_this_slot || (!same && fresh_from_kernel(a, frame))) continue;
        if (innermost == nullptr || candidate.frame < innermost->frame) innermost = &candidate;
    }
    if (innermost == nullptr) return nullptr;
    a.info = const_cast<siginfo_t*>(innermost->info);
    a.context = innermost->context;
    return innermost->called;
}

// The same, if there is any at all: where no foreign handler is being called, that is one load.
__attribute__((noinline, cold)) inline link* link_behind_caller(arrival& a, slot& of, link* newest,
                                                                std::uintptr_t frame) noexcept {
    link const* const caller = calling(a, of, frame);
    if (caller == nullptr) return newest;
    for (link* at = newest; at != nullptr; at = at->older.load())
        if (at == caller) return at->older.load();
    return newest;
}

// Where the walk begins: at the newest claim, or behind the foreign handler that passes the signal on to us.
inline link* first_link(arrival& a, slot& of, std::uintptr_t frame) noexcept {
    link* const newest = of.newest.load();
    return a.in->marks_set.load() == 0 ? newest : link_behind_caller(a, of, newest, frame);
}

// Calls a handler that is not ours as the kernel would have: its mask, its flags, the original siginfo and
// context. SA_RESETHAND makes it the default for the next delivery.
inline void call_foreign(arrival& a, link& which, disposition const& previous) noexcept {
    kernel_set const self = bit_of(a.signal);
    kernel_set wanted = previous.mask | ((previous.flags & SA_NODEFER) != 0 ? 0 : self);
    if (a.context != nullptr) wanted |= interrupted_mask(*a.context);
    kernel_set before;
    change_mask(SIG_SETMASK, &wanted, &before);
    {
        foreign_call const noted{a, which};
        if ((previous.flags & SA_SIGINFO) != 0)
            as_foreign_entry(previous.handler)(a.signal, a.info, a.context);
        else
            as_foreign_handler(previous.handler)(a.signal);
    }
    change_mask(SIG_SETMASK, &before, nullptr);
}

// Reads a foreign link while the thread is still inside the slot.
inline disposition take_foreign(link& which) noexcept {
    disposition previous = which.action;
    previous.handler = __atomic_load_n(&which.action.handler, __ATOMIC_SEQ_CST);
    bool const handler = previous.handler != SIG_DFL && previous.handler != SIG_IGN;
    if (handler && (previous.flags & SA_RESETHAND) != 0)
        previous.handler = __atomic_exchange_n(&which.action.handler, SIG_DFL, __ATOMIC_SEQ_CST);
    return previous;
}

__attribute__((noinline, cold)) inline void meet_foreign(arrival& a, link& which, inside& here) noexcept {
    disposition const previous = a.asked == verdict::reraise ? which.action : take_foreign(which);
    here.leave();
    if (a.asked == verdict::reraise) return reraise(a, previous);
    if (previous.handler == SIG_IGN) return;
    if (previous.handler != SIG_DFL) return call_foreign(a, which, previous);
    if (a.asked == verdict::chain_or_default || is_fault(a.signal)) take_default(a);
}

// Walks the chain from here on; the thread is inside. True if a claim has dealt with the signal; false if only foreign
// dispositions were there.
inline bool walk_chain(arrival& a, link* at, bool claimed, inside& here) noexcept {
    for (; at != nullptr; at = at->older.load()) {
        if (!at->is_claim()) {
            if (claimed || !a.simulated) meet_foreign(a, *at, here);
            return claimed;
        }
        claimed = true;
        a.asked = at->run(*at, a);
        if (a.asked == verdict::done) return true;
    }
    here.leave();
    if (claimed && a.asked == verdict::reraise) take_default(a);
    if (!claimed && a.signal == a.in->second_signal.load()) return a.in->capture.load()(a);
    return claimed;
}

[[gnu::noinline]] inline bool deliver(arrival& a) noexcept {
    slot& of = a.in->slots[a.signal];
    inside here{*a.in, of, a.signal};
    return walk_chain(a, first_link(a, of, frame_here()), false, here);
}

// A fault may be the end of a step of a report, instead of a delivery. Apart, so that other signals do not pay for it.
[[gnu::visibility("hidden"), gnu::noinline]] inline void enter_by_fault(int signal, siginfo_t* info,
                                                                        void* context) noexcept {
    allow_unaligned();
    int const kept = errno;
    arrival a{signal, info, static_cast<ucontext_t*>(context), the_table.load_acquire()};
    if (!is_of_a_report(a)) deliver(a);
    errno = kept;
}

// The thread's own cell, which it takes if it has none and there is one left; libc's errno of the copy of the library
// whose entry this is goes with it.
[[gnu::visibility("hidden"), gnu::noinline]] inline own_cell* take_own_cell(table& in, std::uintptr_t self) noexcept {
    while (in.cells_may_be_owned.load() == ownable) {
        own_cell* const found = find_own_cell(in, self);
        bool const mine = found != nullptr && found->owner.load_relaxed() == self;
        // Sequentially consistent: a removal that does not see it needs no barrier, and is seen by this thread.
        if (found != nullptr && !mine) in.owners.fetch_add(1);
        if (found != nullptr && !mine && !found->owner.replace(0, self)) continue;
        if (found != nullptr) found->errno_of_owner = &errno;
        if (in.cells_may_be_owned.load() == ownable) return found;
    }
    return nullptr;
}

// In a cell that is shared: every cell is taken, or the thread's own is in use, by a handler that this one interrupts
// or by the thread itself, which holds.
[[gnu::visibility("hidden"), gnu::noinline]] inline void enter_by_shared_cell(arrival& a) noexcept {
    int& current = errno;
    int const kept = current;
    if (!is_interruption(a) && !put_off(a)) deliver(a);
    current = kept;
}

// What is not over after the newest claim has run, or does not begin with a claim.
[[gnu::visibility("hidden"), gnu::noinline]] inline void walk_chain_on(arrival& a, slot& of, own_cell& marked,
                                                                 link* behind) noexcept {
    inside here{marked, of};
    if (behind != nullptr)
        walk_chain(a, behind->older.load(), true, here);
    else
        walk_chain(a, first_link(a, of, frame_here()), false, here);
}

// The way of most deliveries has no call but that of the newest claim's program, and no read-modify-write.
[[gnu::visibility("hidden")]] inline void enter(int signal, siginfo_t* info, void* context) noexcept {
    if (is_fault(signal)) return enter_by_fault(signal, info, context);
    arrival a{signal, info, static_cast<ucontext_t*>(context), the_table.load_acquire()};
    table& in = *a.in;
    std::uintptr_t const self = thread_pointer();
    own_cell* own = &in.own[first_cell(self) % own_count];
    if (own->owner.load_relaxed() != self) own = take_own_cell(in, self);
    if (own == nullptr || own->holder.load_relaxed() != 0) return enter_by_shared_cell(a);
    if (is_interruption(a)) return;
    int* const current = own->errno_of_owner;
    int const kept = *current;
    own->holder.store_relaxed(inside::tag(signal, self));
    // What follows may be read before others see the store: whoever takes a link out makes it visible.
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    slot& of = in.slots[signal];
    link* const newest = of.newest.load();
    link* ran = nullptr;
    if (newest != nullptr && newest->is_claim() && in.marks_set.load() == 0) {
        ran = newest;
        a.asked = ran->run(*ran, a);
    }
    if (ran != nullptr && a.asked == verdict::done)
        own->holder.store_release(0);
    else
        walk_chain_on(a, of, *own, ran);
    *current = kept;
}

}  // namespace tocsin::in_signal
