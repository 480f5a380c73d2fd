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
#include <tocsin/in_signal/reraise.hpp>
#include <tocsin/in_signal/slot.hpp>

namespace tocsin::in_signal {

// The table, once this copy of the library has found it. Hidden, as is every function that reads or writes it: where a
// program exports its symbols, the dynamic linker would mix the copies, and one's function would look at its own.
[[gnu::visibility("hidden")]] inline atomic<table*> the_table;

// Notes that a foreign handler is being called from a chain; see `mark`. Null if there is no room for it.
[[gnu::always_inline, gnu::nothrow]] inline mark* note_call(arrival& a, link const& called) {
    for (mark& candidate : a.in->marks) {
        if (!candidate.thread.replace(0, thread_pointer())) continue;
        candidate.frame = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
        candidate.info = a.info;
        candidate.context = a.context;
        candidate.called = &called;
        a.in->marks_set.fetch_add(1);
        return &candidate;
    }
    return nullptr;
}

[[gnu::always_inline]] inline void forget_call(table& in, mark& which) noexcept {
    which.thread.store(0);
    in.marks_set.fetch_sub(1);
}

// The kernel puts the siginfo a few kilobytes above the handler's frame.
inline bool fresh_from_kernel(arrival const& a, std::uintptr_t frame) noexcept {
    constexpr std::uintptr_t largest_frame = 32768;
    return reinterpret_cast<std::uintptr_t>(a.info) - frame < largest_frame;
}

// The frame of whoever begins with a delivery: what a foreign handler is called from lies below it, and a foreign
// handler that calls us above it.
[[gnu::always_inline, gnu::nothrow]] inline std::uintptr_t frame_here() {
    return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
}

// The foreign handler of this slot that is calling us right now, or null: of several, the innermost. A mark whose
// frame lies below ours was left by a handler that never returned (siglongjmp): it is cleared.
[[gnu::always_inline]] inline link const* calling(arrival& a, slot& of, std::uintptr_t frame) noexcept {
    std::uintptr_t const self = thread_pointer();
    mark const* innermost = nullptr;
    for (mark& candidate : a.in->marks) {
        if (candidate.thread.load() != self) continue;
        if (candidate.frame <= frame) {
            forget_call(*a.in, candidate);
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
[[gnu::noinline, gnu::cold]] inline link* link_behind_caller(arrival& a, slot& of, link* newest,
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
// (The attribute in place of noexcept: GCC takes __builtin_frame_address for a function that may throw.)
[[gnu::always_inline, gnu::nothrow]] inline void call_foreign(arrival& a, link const& which,
                                                              disposition const& previous) {
    kernel_set const self = bit_of(a.signal);
    kernel_set wanted = previous.mask | ((previous.flags & SA_NODEFER) != 0 ? 0 : self);
    if (a.context != nullptr) wanted |= interrupted_mask(*a.context);
    kernel_set before;
    change_mask(SIG_SETMASK, &wanted, &before);
    mark* const noted = note_call(a, which);
    if ((previous.flags & SA_SIGINFO) != 0)
        as_foreign_entry(previous.handler)(a.signal, a.info, a.context);
    else
        as_foreign_handler(previous.handler)(a.signal);
    if (noted != nullptr) forget_call(*a.in, *noted);
    change_mask(SIG_SETMASK, &before, nullptr);
}

// Reads a foreign link while the thread is still inside the slot.
inline disposition take_foreign(arrival const& a, link& which) noexcept {
    disposition previous = which.action;
    if (a.asked == verdict::reraise) return previous;
    previous.handler = __atomic_load_n(&which.action.handler, __ATOMIC_SEQ_CST);
    bool const handler = previous.handler != SIG_DFL && previous.handler != SIG_IGN;
    if (handler && (previous.flags & SA_RESETHAND) != 0)
        previous.handler = __atomic_exchange_n(&which.action.handler, SIG_DFL, __ATOMIC_SEQ_CST);
    return previous;
}

// What stands at the end of the chain.
[[gnu::always_inline, gnu::nothrow]] inline void meet_foreign(arrival& a, link const& which,
                                                              disposition const& previous) {
    if (a.asked == verdict::reraise) return reraise(a, previous);
    if (previous.handler == SIG_IGN) return;
    if (previous.handler != SIG_DFL) return call_foreign(a, which, previous);
    if (a.asked == verdict::chain_or_default || is_fault(a.signal)) take_default(a);
}

// Walks the chain behind the claim that has run already, or from its beginning if none has; the thread is inside, by
// this cell, and no longer at the end. True if a claim has dealt with the signal; false if only foreign dispositions
// were there.
[[gnu::visibility("hidden"), gnu::noinline, gnu::cold, gnu::nothrow]] inline bool walk_chain(
    arrival& a, link const* ran, atomic<std::uintptr_t>* holder) {
    bool claimed = ran != nullptr;
    link* at = claimed ? ran->older.load() : first_link(a, slot_of(*a.in, a.signal), frame_here());
    bool done = false;
    while (at != nullptr && at->is_claim()) {
        claimed = true;
        a.asked = at->run(*at, a);
        done = a.asked == verdict::done;
        if (done) break;  // the link may be gone
        at = at->older.load();
    }
    bool const foreign = !done && at != nullptr;
    disposition previous;  // set where it is looked at
    if (foreign && (claimed || !a.simulated)) previous = take_foreign(a, *at);
    inside::leave(*a.in, a.signal, holder);
    if (foreign) {
        if (claimed || !a.simulated) meet_foreign(a, *at, previous);
        return claimed;
    }
    if (claimed && a.asked == verdict::reraise) take_default(a);
    if (!claimed && a.signal == a.in->second_signal.load()) return a.in->capture.load()(a);
    return claimed;
}

[[gnu::visibility("hidden"), gnu::noinline]] inline bool deliver(arrival& a) noexcept {
    atomic<std::uintptr_t>* const holder = inside::enter(*a.in, a.signal);
    link* const newest = a.in->slots[a.signal].newest.load();
    if (newest == nullptr || !newest->is_claim() || a.in->marks_set.load() != 0) return walk_chain(a, nullptr, holder);
    a.asked = newest->run(*newest, a);
    if (a.asked != verdict::done) return walk_chain(a, newest, holder);
    inside::leave(*a.in, a.signal, holder);
    return true;
}

// The thread's own cell, which it takes if it has none and there is one left; libc's errno of the copy of the library
// whose entry this is goes with it.
[[gnu::visibility("hidden"), gnu::noinline, gnu::cold]] inline own_cell* take_own_cell(table& in,
                                                                                       std::uintptr_t self) noexcept {
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

// The delivery that comes first while the thread holds is put off (see held.hpp). The code for that is with `hold`.
inline bool is_put_off(arrival& a) noexcept {
    std::uintptr_t const self = thread_pointer();
    own_cell const* const cell = find_own_cell(*a.in, self);
    if (cell == nullptr || cell->owner.load_relaxed() == 0) return false;
    kept_delivery* const kept = cell->kept.load_relaxed();
    return kept != nullptr && kept->put_off(*kept, a);
}

// In a cell that is shared: a fault; or every cell is taken, or the thread's own is in use, by a handler that this one
// interrupts or by the thread itself, which holds. A fault may be the end of a step of a report, instead of a delivery.
[[gnu::visibility("hidden"), gnu::noinline]] inline void enter_by_shared_cell(int signal, siginfo_t* info,
                                                                            void* context) noexcept {
    bool const fault = is_fault(signal);
    int& current = errno;
    int const kept = current;
    arrival a{signal, info, static_cast<ucontext_t*>(context), the_table.load_acquire()};
    bool const for_nobody = fault ? is_of_a_report(a) : is_interruption(a) || is_put_off(a);
    if (!for_nobody) deliver(a);
    current = kept;
}

// The way of most deliveries has no call but that of the newest claim's program, and no read-modify-write.
[[gnu::always_inline]] inline void enter(int signal, siginfo_t* info, void* context) noexcept {
    if (is_fault(signal)) {
        // Here and not in there: where errno is does not depend on anything to a compiler, which asks for it first.
        allow_unaligned();
        return enter_by_shared_cell(signal, info, context);
    }
    arrival a{signal, info, static_cast<ucontext_t*>(context), the_table.load_acquire()};
    table& in = *a.in;
    std::uintptr_t const self = thread_pointer();
    own_cell* own = &in.own[first_cell(self) % own_count];
    if (own->owner.load_relaxed() != self) own = take_own_cell(in, self);
    if (own == nullptr || own->holder.load_relaxed() != 0) return enter_by_shared_cell(signal, info, context);
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
        walk_chain(a, ran, &own->holder);
    *current = kept;
}

}  // namespace tocsin::in_signal
