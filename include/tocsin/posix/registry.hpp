// SPDX-License-Identifier: MIT
// The write side of the slots: claim a signal, give it back.
//
// Runs on any ordinary thread, under the table's lock. The read side is `in_signal/entry.hpp`.
//
// One slot goes through these states. K is what the kernel holds, E our entry, F and G foreign dispositions,
// A and B claims; the chain is written from newest to oldest.
//
//   state                    K   chain         what a delivery meets       left by
//   1 never claimed          F   -             F, from the kernel          claim A
//   2 published              F   A F           F, from the kernel          K := E
//   3 claimed                E   A F           A, then F if A chains       claim B, withdraw A, F' installed
//   4 claimed twice          E   B A F         B, then A, then F           withdraw either
//   5 taken over             G   A F           G, then A if G calls E      withdraw A, claim B
//   6 claimed over it        E   B G A F       B, then G, then (G calls E  withdraw either
//                                              from the chain) A, then F
//   7 withdrawing            E   F             F, through E                K := F
//   8 withdrawn              F   F             F, from the kernel; an entry that was already under way
//                                              finds F as the oldest link   claim A (state 2), over F alone
//   9 taken over, no claim   G   F             G, then F if G calls E       claim B (B G F, as in state 6)
//
// What follows, and is tried in every interleaving by the model test:
//   - A claim is linked before the kernel learns of it, and unlinked before the kernel forgets it. Whenever E is
//     entered there is a link to run, and what it finds there is what the kernel holds or held a moment before.
//   - A thread tells that it is inside before it reads the chain; a withdrawal unlinks before it looks who is
//     inside. One of the two sees the other: when a withdrawal returns, nobody runs the link. Threads with a cell of
//     their own do it without a barrier; the withdrawal makes them all pass one in between (pass_barrier).
//   - What lives in the kernel and is not what the newest link put there is foreign, and stays. A disposition cannot
//     be exchanged on condition: of two foreign handlers that come while one claim is withdrawn, in between its look
//     at the kernel and its change, the second can find what was below the claim instead of the first. It stays.
//   - A delivery can meet a foreign handler that has just gone, or one twice, while a claim over it comes or goes at
//     the same time; no later delivery does.
//   - A forked child has the chain as it was at some step, none of which is inconsistent, and none of the other
//     threads; it forgets that they were inside.
#pragma once

#include <errno.h>

#include <tocsin/failure.hpp>
#include <tocsin/in_signal/slot.hpp>
#include <tocsin/posix/kernel.hpp>
#include <tocsin/posix/table_lock.hpp>

namespace tocsin::posix {

using in_signal::disposition;
using in_signal::link;
using in_signal::slot;
using in_signal::table;

// Forgets the marks of threads that a fork left behind.
[[gnu::always_inline]] inline void forget_other_threads(table& in) noexcept {
    std::uintptr_t const self = in_signal::thread_pointer();
    for (in_signal::cell& each : in.cells)
        if ((each.holder.load() & in_signal::thread_bits) != self) each.holder.store(0);
    for (in_signal::own_cell& each : in.own)
        if (each.owner.load() != self) each.holder.store(0);
    for (slot& each : in.slots) each.crowd.store(0);
}

// Makes this process, if it is a forked child, one of its own for the library.
[[gnu::noinline, gnu::cold]] inline void adopt_process(table& in) noexcept {
    std::int32_t const self = in_signal::getpid();
    if (in.live_process->load() == self) return;
    forget_other_threads(in);
    in.live_process->store(self);
}

// True if handlers have run on other threads that mark themselves without a read-modify-write.
inline bool others_own_cells(table& in) noexcept {
    std::uint32_t const owners = in.owners.load();
    if (owners != 1) return owners != 0;
    std::uintptr_t const self = in_signal::thread_pointer();
    in_signal::own_cell const* const own = in_signal::find_own_cell(in, self);
    return own == nullptr || own->owner.load() != self;
}

// Every other thread passes a barrier: what it has stored before is visible, and what it reads after is new. The first
// such call of a process registers it with the kernel, which takes some 15 ms then (membarrier(2)). If somebody has
// taken the system call away since the table was made, as a sandbox does, threads go back to marks with a barrier of
// their own. Those that are between their mark and their look at the slot are then given a time that is long enough
// for any processor to be interrupted; there is nothing else left to ask.
[[gnu::always_inline]] inline void pass_barrier(table& in) noexcept {
    if (in_signal::expedited_barrier() == 0) return;
    in_signal::register_for_barrier();
    if (in_signal::expedited_barrier() == 0) return;
    in.cells_may_be_owned.store(in_signal::no_longer_owned);
    for (in_signal::own_cell& each : in.own)
        if (std::uintptr_t const owner = each.owner.load()) each.owner.replace(owner, owner | in_signal::taken_away);
    in_signal::nap(20'000'000);
    in.cells_may_be_owned.store(in_signal::shared_only);
}

// The same for whoever begins something, without a system call where the page that fork wipes tells. (A child of a bare
// clone(2) on Linux before 4.14, which wipes nothing, has to wait for whoever asks the kernel.) Answers the process.
inline std::int32_t live_process(table& in) noexcept {
    if (in.live_process->load() == 0) adopt_process(in);
    return in.live_process->load();
}

// Waits a little. In a forked child, whom we wait for may not exist.
[[gnu::noinline, gnu::cold]] inline void wait_a_turn(table& in, patience& turn) noexcept {
    if (turn.exhausted()) adopt_process(in);
    turn.wait();
}

// Returns when what made threads be inside by these cells is over. `self` is the mark that this thread would have.
[[gnu::noinline, gnu::cold]] inline void wait_for_holders(table& in,
                                                          in_signal::cell const (&cells)[in_signal::cell_count],
                                                          std::uintptr_t self, patience& turn) noexcept {
    constexpr unsigned shift = in_signal::signal_shift;
    for (in_signal::cell const& each : cells) {
        std::uintptr_t const seen = each.holder.load();
        if (seen == self || seen >> shift != self >> shift) continue;
        while (each.holder.load() == seen) wait_a_turn(in, turn);
    }
}

// Returns when no other thread is inside the slot that was inside when it was called.
[[gnu::noinline, gnu::cold]] inline void wait_until_left(table& in, int signal) noexcept {
    std::uintptr_t const self = in_signal::inside::tag(signal);
    patience turn;
    if (others_own_cells(in)) {
        if (in.cells_may_be_owned.load() != in_signal::shared_only) pass_barrier(in);
        wait_for_holders(in, in.own, self, turn);
    }
    if (in.cells_in_use.load() == 0) return;
    wait_for_holders(in, in.cells, self, turn);
    while (in_signal::slot_of(in, signal).crowd.load() > 0) wait_a_turn(in, turn);
}

}  // namespace tocsin::posix

namespace tocsin::in_signal {

// The part that every copy of the library in the process takes from the one that made the table: only that copy
// has to stay loaded. Only ever appended to.
struct operations {
    std::uint32_t size;
    entry_function entry;
    int (*claim)(table&, int signal, link&) noexcept;  // an errno
    void (*withdraw)(table&, int signal, link&) noexcept;
    bool (*deliver)(arrival&) noexcept;
    own_cell* (*take_own_cell)(table&, std::uintptr_t self) noexcept;
};

}  // namespace tocsin::in_signal

namespace tocsin::posix {

// By the copy of the library that made the table.
inline failure claim_link(table& in, int signal, link& claim) noexcept {
    return {in.operate->claim(in, signal, claim), "sigaction", signal};
}

namespace detail {

inline bool is_entry(table const& in, disposition const& live) noexcept {
    return live.handler == in_signal::as_handler(in.operate->entry);
}

// True if what lives in the kernel is what the newest link put there, so that nobody came after it.
[[gnu::noinline, gnu::cold]] inline bool is_ours(table const& in, link const* newest,
                                                 disposition const& live) noexcept {
    return is_entry(in, live) ||
           (newest != nullptr && newest->is_claim() && newest->action.handler == live.handler);
}

// Writes a foreign disposition into a free place above `older`; null if more of them lie between claims than
// there are places. A place that was freed may still be read by a delivery that was under way.
[[gnu::noinline, gnu::cold]] inline link* remember(table& in, int signal, disposition const& found,
                                                   link* older) noexcept {
    slot& of = in_signal::slot_of(in, signal);
    auto const place = static_cast<unsigned>(__builtin_ctz(~of.foreign_used));
    if (place >= in_signal::foreign_links) return nullptr;
    wait_until_left(in, signal);
    of.foreign_used |= 1U << place;
    link& made = of.foreign[place];
    made.action = found;
    made.older.store(older);
    return &made;
}

[[gnu::noinline, gnu::cold]] inline void forget(slot& of, link const& foreign) noexcept {
    of.foreign_used &= ~(1U << (&foreign - of.foreign));
}

// Takes a link out of the chain.
[[gnu::always_inline]] inline void unlink(slot& of, link const& gone) noexcept {
    link* at = of.newest.load();
    if (at == &gone) return of.newest.store(gone.older.load());
    while (at->older.load() != &gone) at = at->older.load();
    at->older.store(gone.older.load());
}

[[gnu::noinline, gnu::cold]] inline bool same(disposition const& left, disposition const& right) noexcept {
    return left.handler == right.handler && left.flags == right.flags && left.mask == right.mask;
}

// Gives the kernel `wanted` where `held` was. Whoever was installed in between stays, of several the last. True if
// there was nobody.
[[gnu::noinline, gnu::cold]] inline bool put_back(int signal, disposition const& wanted,
                                                  disposition const& held) noexcept {
    disposition given = wanted;
    disposition expected = held;
    for (bool alone = true;; alone = false) {
        disposition replaced{};
        if (change_disposition(signal, given, replaced) != 0 || replaced.handler == expected.handler) return alone;
        expected = given;
        given = replaced;
    }
}

// Set in `foreign_used` in state 8: whoever is found in the kernel next has not replaced our entry, and cannot call it.
inline constexpr std::uint32_t given_back = 1U << 31;

}  // namespace detail

// Links `claim` as the newest and gives the kernel its action. On failure the kernel holds what it held, and the
// chain does the same as before. Answers an errno.
[[gnu::cold]] inline int claim_signal(table& in, int signal, link& claim) noexcept {
    table_lock const locked{in};
    slot& of = in_signal::slot_of(in, signal);
    disposition live;
    if (int const refused = read_disposition(signal, live)) return refused;
    link* const newest = of.newest.load();
    bool const foreign = !detail::is_ours(in, newest, live);
    // In states 1 and 8 the old chain only serves late deliveries. In all others, whoever was installed over our entry
    // may call it and means what lies below.
    bool const anew = foreign && (newest == nullptr || (of.foreign_used & detail::given_back) != 0);
    // Before the kernel is changed, a look at it: what a delivery is to find below the claim is there first.
    bool const known = anew && newest != nullptr && detail::same(newest->action, live);
    bool const found = foreign && !known;
    link* const below = found ? detail::remember(in, signal, live, anew ? nullptr : newest) : newest;
    if (below == nullptr && !detail::is_entry(in, live)) return ENOSPC;
    link* const before = anew ? below : newest;
    claim.older.store(below);
    of.newest.store(&claim);
    if (anew && newest != below && newest != nullptr) detail::forget(of, *newest);
    disposition replaced;
    int refused = change_disposition(signal, claim.action, replaced);
    if (refused == 0) {
        of.foreign_used &= ~detail::given_back;
        if (detail::same(replaced, live)) return 0;
        // Somebody came or went since we looked. Whom we saw is gone, or is called by those who came.
        link* const rest = foreign ? below->older.load() : below;
        bool const come = rest == nullptr || !detail::is_ours(in, rest, replaced);
        if (link* const between = come ? detail::remember(in, signal, replaced, rest) : rest) {
            claim.older.store(between);
            if (foreign) detail::forget(of, *below);
            return 0;
        }
        detail::put_back(signal, replaced, claim.action);
        refused = ENOSPC;
    } else if (anew) {
        of.foreign_used |= detail::given_back;
    }
    of.newest.store(before);
    if (below != before) detail::forget(of, *below);
    return refused;
}

// Unlinks `claim`, gives the kernel back what lay below it if nobody else has been installed since, and returns
// when no other thread is inside the slot.
[[gnu::cold]] inline void withdraw_signal(table& in, int signal, link& claim) noexcept {
    {
        table_lock const locked{in};
        slot& of = in_signal::slot_of(in, signal);
        disposition live{};
        read_disposition(signal, live);  // a change on trial would take a foreign handler's signals for a moment
        link* const below = claim.older.load();
        bool const restore = of.newest.load() == &claim && live.handler == claim.action.handler && below != nullptr;
        detail::unlink(of, claim);
        if (restore && detail::put_back(signal, below->action, claim.action) && !below->is_claim()) {
            if (link* const rest = below->older.load()) {
                of.newest.store(rest);  // state 6 to 5: what lives in the kernel is not in the chain
                detail::forget(of, *below);
            } else {
                of.foreign_used |= detail::given_back;
            }
        }
    }
    wait_until_left(in, signal);
}

}  // namespace tocsin::posix
