// SPDX-License-Identifier: MIT
// Deliveries on their way from handlers to ordinary threads.
//
// Runs in the handler (posting); `posix/inbox.hpp` takes them out. A bit a signal is the truth, the record
// behind it the detail: a standard signal has one record, which counts the arrivals that it stands for; a
// real-time signal has a ring of them, and a thread that finds the ring full leaves its handler with that
// signal masked, so that what comes after waits in the kernel. A post never waits and drops nothing. The
// reader is woken by one write, and only if nobody has been woken since it last looked.
#pragma once

#include <errno.h>

#include <tocsin/delivery.hpp>
#include <tocsin/in_signal/slot.hpp>
#include <tocsin/signal.hpp>

namespace tocsin::in_signal {

enum record_state : std::uint32_t { record_empty, record_being_written, record_written, record_being_read };

struct standard_record {
    atomic<std::uint64_t> arrivals;
    atomic<std::uint32_t> state;
    delivery first;  // of those that `arrivals` counts
};

// A place in a ring. `turn` is 2n when it may be written for the n-th time round, 2n + 1 when it may be read;
// fresh memory is ready for use.
struct queued_record {
    atomic<std::uint64_t> turn;
    delivery what;
};

// A thread that left its handler with a signal masked. The kernel's number is there until it has been asked to open
// the signal again; the thread pointer stays, for it is what a thread that forks keeps in the child.
struct parked_thread {
    atomic<std::int32_t> number;
    atomic<std::uintptr_t> pointer;
};
inline constexpr unsigned parked_threads = 62;

// The ring of one real-time signal. Half of its places are for deliveries, the other half for those that
// threads had already taken when the first half was full.
struct ring {
    atomic<std::uint64_t> tail;  // next to write
    atomic<std::uint64_t> head;  // next to read
    std::uint64_t places;        // a power of two
    queued_record* records;
    atomic<std::int32_t> closed;  // what comes now is dropped: the claims are being withdrawn
    atomic<std::int32_t> parked_everywhere;  // more threads are parked than have a place below
    parked_thread parked[parked_threads];

    // In this order: the difference may be too large for a moment, but never below zero.
    std::uint64_t used() const noexcept {
        std::uint64_t const first = head.load();
        return tail.load() - first;
    }
    bool full() const noexcept { return used() >= places / 2; }
};

// The bits of an inbox are those of the signals; a watchdog, which is no signal, has the one of signal 32,
// which libc keeps for itself.
constexpr int watchdog_place = 32;
constexpr int place_in_inbox(int signal) noexcept { return signal == 0 ? watchdog_place : signal; }

struct inbox {
    atomic<std::uint64_t>* bits;   // where the owner can see them
    atomic<std::int32_t> process;  // where what is recorded arrived
    bool works_in_child;           // recording in a forked child disturbs nobody
    atomic<std::uint32_t> woken;   // 1 once the reader has been told and has not looked yet
    int descriptor;                // eventfd to write, or -1
    service* thread;               // service to wake, or null
    standard_record standard[watchdog_place + 1];
    ring* rings[slot_count];       // of the real-time signals that are claimed
};

// Tells the reader. Descriptor and service are the process's own: only called at home. Who finds it told already has
// no read-modify-write: the reader forgets that it was told before it looks, so that it has yet to look.
inline void wake(inbox& box) noexcept {
    if (box.woken.load() != 0 || box.woken.exchange(1) != 0) return;
    std::uint64_t const one = 1;
    if (box.descriptor >= 0) write(box.descriptor, &one, sizeof one);
    if (box.thread != nullptr && box.thread->work.exchange(1) == 0) futex_wake(box.thread->work.address(), 1);
}

// Empties a ring that other threads may have been writing and reading when the process forked: every place is made
// ready for its next turn.
inline void forget_all(ring& r) noexcept {
    std::uint64_t const tail = r.tail.load();
    r.head.store(tail);
    for (std::uint64_t i = 0; i < r.places; ++i) {
        std::uint64_t const position = tail + i;
        queued_record& place = r.records[position & (r.places - 1)];
        std::uint64_t const turn = position / r.places * 2;
        if (place.turn.load_relaxed() != turn) place.turn.store(turn);
    }
}

// A forked child starts without what its parent had pending.
inline void start_clean(inbox& box, std::int32_t process) noexcept {
    if (box.process.load() == process) return;
    box.bits->store(0);
    for (standard_record& record : box.standard) {
        record.arrivals.store(0);
        record.state.store(record_empty);
    }
    for (ring* r : box.rings)
        if (r != nullptr) forget_all(*r);
    box.process.store(process);
}

// Whoever finds the record empty writes it. The second look is for an arrival that was counted after the reader
// had taken the count, but before it let go of the record.
inline void record_standard(standard_record& record, delivery const& what) noexcept {
    for (int look = 0; look < 2; ++look) {
        if (record.state.load() == record_empty && record.state.replace(record_empty, record_being_written)) {
            record.first = what;
            record.state.store(record_written);
        }
        if (look == 0) record.arrivals.fetch_add(what.merged());
        if (record.state.load() != record_empty) return;
    }
}

inline bool push(ring& r, delivery const& what) noexcept {
    std::uint64_t position = r.tail.load();
    for (;;) {
        queued_record& place = r.records[position & (r.places - 1)];
        std::uint64_t const turn = position / r.places * 2;
        std::uint64_t const found = place.turn.load_acquire();
        if (found == turn) {
            if (!r.tail.compare_exchange(position, position + 1)) continue;
            place.what = what;
            place.turn.store_release(turn + 1);
            return true;
        }
        if (found < turn) return false;
        position = r.tail.load();
    }
}

// Masks the signal in the state that the handler returns to, and leaves word for whoever opens it again.
inline void park(ring& r, arrival& a) noexcept {
    set_interrupted_mask(*a.context, interrupted_mask(*a.context) | bit_of(a.signal));
    std::int32_t const self = gettid();
    for (parked_thread& place : r.parked) {
        if (place.number.load() == self) return;
        if (place.number.load() != 0 || !place.number.replace(0, self)) continue;
        place.pointer.store(thread_pointer());
        return;
    }
    r.parked_everywhere.store(1);
}

// The next place is still being read, perhaps by the code that we interrupt: the signal goes back to the kernel, and
// arrives again when the handler has returned. If the kernel's queue is full, the reader is given time.
inline void keep_later(ring& r, arrival& a, delivery const& what) noexcept {
    constexpr int patience = 10'000;
    for (int tried = 0; tried < patience; ++tried) {
        if (queue_to_thread(a.pid(), gettid(), a.signal, a.info) != -EAGAIN || push(r, what)) return;
        yield();
    }
}

// False if the delivery could not be recorded, which only a simulated one has to live with.
inline bool record_realtime(ring& r, arrival& a, delivery const& what) noexcept {
    if (r.closed.load() != 0) return true;
    if (a.context == nullptr) return !r.full() && push(r, what);
    bool const kept = push(r, what);
    if (r.full()) park(r, a);
    if (!kept) keep_later(r, a, what);
    return true;
}

// Posts what has arrived. In a child that shares descriptors or memory with the owner, only what cannot reach
// the owner.
inline void post(inbox& box, arrival& a) noexcept {
    std::int32_t const owner = box.process.load_relaxed();
    place const where = a.place_of(owner);
    if (where == place::borrowed || (where == place::forked && !box.works_in_child)) return;
    if (where == place::forked) start_clean(box, a.pid());
    delivery const what = a.info != nullptr ? delivery{a.signal, *a.info} : delivery{a.signal};
    int const at = place_in_inbox(a.signal);
    if (at <= watchdog_place)
        record_standard(box.standard[at], what);
    else if (!record_realtime(*box.rings[at], a, what))
        a.refused = true;
    // A bit that is set stands for this one too: the reader clears it before it looks at the record, or looks again.
    if ((box.bits->load() & bit_of(at)) == 0) box.bits->fetch_or(bit_of(at));
    if (where == place::home) wake(box);
}

}  // namespace tocsin::in_signal
