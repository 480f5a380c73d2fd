// SPDX-License-Identifier: MIT
// What the process keeps about each signal: the chain of claims, and who is inside it right now.
//
// Runs in the handler (the read side); `posix/registry.hpp` writes, and describes the protocol of both sides.
// All of it is plain memory that starts as zero, shared by every copy of the library in the process.
#pragma once

#include <signal.h>

#include <cstddef>
#include <cstdint>

#include <tocsin/failure.hpp>
#include <tocsin/in_signal/atomic.hpp>
#include <tocsin/in_signal/system.hpp>
#include <tocsin/signal.hpp>

namespace tocsin::in_signal {

struct table;
struct arrival;

// A disposition as the kernel has it. `action.handler` may be SIG_DFL or SIG_IGN.
using disposition = kernel_action;

using entry_function = void (*)(int, siginfo_t*, void*);

// The kernel has one field for handlers with one and with three parameters; SA_SIGINFO tells them apart.
inline void (*as_handler(entry_function entry) noexcept)(int) {
    return reinterpret_cast<void (*)(int)>(reinterpret_cast<void*>(entry));
}
// Declared not to throw: an exception that leaves a handler ends the process one way or the other, and this way the
// compiler adds no code of its own for it.
using foreign_handler = void (*)(int) noexcept;
using foreign_entry = void (*)(int, siginfo_t*, void*) noexcept;
inline foreign_handler as_foreign_handler(void (*handler)(int)) noexcept {
    return reinterpret_cast<foreign_handler>(reinterpret_cast<void*>(handler));
}
inline foreign_entry as_foreign_entry(void (*handler)(int)) noexcept {
    return reinterpret_cast<foreign_entry>(reinterpret_cast<void*>(handler));
}

// What is to happen after a link has had its turn.
enum class verdict : unsigned char {
    done,              // nothing: the delivery has been dealt with
    chain,             // call what was there before; a default that was there is taken for fault signals only
    chain_or_default,  // the same, and a default that was there is taken
    reraise,           // put back what was there before, send the original siginfo again, return
};

// One claim on a signal: a row of a guard, or a disposition that somebody else had installed (`run` is null).
// Links of one signal form a chain from the newest to the oldest; the oldest is what the first claim found.
struct link {
    atomic<link*> older;
    verdict (*run)(link&, arrival&) noexcept = nullptr;
    disposition action{};  // what the kernel holds while this link is the newest

    bool is_claim() const noexcept { return run != nullptr; }
};

// Foreign dispositions that one signal can remember between claims.
inline constexpr int foreign_links = 4;

struct slot {
    atomic<link*> newest;
    atomic<std::int32_t> crowd;   // threads inside that found no free cell
    std::uint32_t foreign_used;   // one bit for each of `foreign`; only for the write side
    link foreign[foreign_links];
};

// One cache line for each thread that is inside a slot.
struct alignas(64) cell {
    atomic<std::uintptr_t> owner;   // thread pointer; 0 until somebody takes it. It stays when the thread ends.
    atomic<std::uintptr_t> holder;  // thread pointer and signal in one word, 0 if free
    atomic<struct kept_delivery*> kept;  // not null while the thread holds; see held.hpp
    int* errno_of_owner;            // at the same place from the thread pointer always: libc's own storage is static
};
inline constexpr unsigned cell_count = 64;
// Addresses of user space need 57 bits at most; the signal lies above them.
inline constexpr unsigned signal_shift = 57;
inline constexpr std::uintptr_t thread_bits = (std::uintptr_t{1} << signal_shift) - 1;

// Some cells are shared, and have nothing but a holder. The others each belong to a thread for good, so that it marks
// itself by a store alone: no read-modify-write, no fence.
// Whoever removes a link makes every running thread pass a barrier before it looks (posix/registry.hpp). The cell is
// for one signal at a time, for what the kernel delivers, and for the threads that come first; else the thread takes
// a cell of those that are shared. Threads that share one thread pointer and run at the same time (clone(2) without
// CLONE_SETTLS) are one thread here, as they are to libc.
using own_cell = cell;
inline constexpr unsigned own_count = cell_count;
inline constexpr std::uintptr_t taken_away = 1;  // in `owner`: it marks itself there no more

// Whether cells may be owned.
inline constexpr std::uint32_t shared_only = 0;
inline constexpr std::uint32_t ownable = 1;          // membarrier(2) is there
inline constexpr std::uint32_t no_longer_owned = 2;  // it was; until all threads have heard of it

// A call of a foreign handler that is still going on. If that handler calls our entry, the chain is continued
// behind it instead of starting again.
struct mark {
    atomic<std::uintptr_t> thread;
    std::uintptr_t frame;
    siginfo_t const* info;
    ucontext_t* context;
    link const* called;
};
inline constexpr unsigned mark_count = 16;

inline constexpr int slot_count = 65;  // signals are numbered from 1

// Limits that a program can set when it links the generated source.
struct limits {
    std::uint32_t records;            // real-time deliveries kept for one signal and consumer
    std::uint32_t frames;             // of one thread in a report
    std::uint32_t alternate_stack;    // bytes, at least
};

struct operations;

// A thread of the library's own, started when first needed and never stopped.
struct service {
    atomic<std::uint32_t> work;       // futex: 1 if there is something to do
    atomic<std::int32_t> process;     // where the thread runs; another number after fork
    atomic<std::uintptr_t> thread;    // its thread pointer
    struct source* sources;           // guarded by the table's lock
};
enum service_name : unsigned { dispatcher, reporter, watcher, helper, service_count };

// The one table of the process.
struct table {
    operations const* operate;
    limits limit;
    std::uint32_t exiting;                 // 1 once exit() has begun
    atomic<std::uint64_t> lock;            // process and thread that write, 0 if nobody
    atomic<std::int32_t>* live_process;    // in a page that fork wipes: 0 in a child that has not said otherwise
    atomic<std::int32_t> reserved_signal;  // the real-time signal the library keeps for itself, 0 if none
    atomic<std::int32_t> second_signal;    // a standard one, while a report asks by it; 0 otherwise
    atomic<bool (*)(arrival&) noexcept> capture;  // answers a capture request; null until a report is possible
    atomic<std::uint32_t> marks_set;
    mark marks[mark_count];
    service services[service_count];
    atomic<failure (*)(table&) noexcept> stack_keeper;  // gives a thread an alternate stack; null until one needs it
    void* capture_area;                    // of the report; null until one is possible
    atomic<struct thread_record*> threads;  // what threads have said of themselves, newest first; never freed
    slot slots[slot_count];
    cell cells[cell_count];
    atomic<std::uint32_t> cells_may_be_owned;
    atomic<std::uint32_t> owners;              // threads that have begun to take an own cell; never fewer than have one
    atomic<std::uint32_t> cells_in_use;        // 1 once a thread has gone for a shared cell: before, nobody looks there
    atomic<std::uint32_t> farthest_cell;       // that a thread has gone for, counted from its first one; only grows
    own_cell own[own_count];
};

// Where this process stands to the one that a guard was built in.
enum class place : unsigned char {
    home,      // the same process
    forked,    // a forked child: memory is a copy, descriptors are shared
    borrowed,  // a vforked child: memory is the parent's
};

// One signal on its way through a chain.
struct arrival {
    int signal;
    siginfo_t* info;
    ucontext_t* context;  // null if simulated
    table* in;
    std::int32_t process = 0;  // our pid once somebody has asked
    verdict asked = verdict::chain_or_default;  // by the link before; where nobody claims, all is as without us
    bool simulated = false;
    bool refused = false;      // a simulated delivery that found a record full
    void const* told[3]{};     // the targets that reports of this delivery have been written to

    // Asks the kernel: a cached pid would be the parent's in a vforked child, whose memory is the parent's too.
    std::int32_t pid() noexcept {
        if (process == 0) process = getpid();
        return process;
    }

    place place_of(std::int32_t built_in) noexcept {
        std::int32_t const live = in->live_process->load_relaxed();
        if (live == 0) return place::forked;  // before the pid: a child in a pid namespace may have the parent's
        if (pid() == built_in) return place::home;
        return live == pid() ? place::forked : place::borrowed;
    }
};

// What is kept for a thread that holds; see held.hpp. It lies in the outermost `hold` of that thread, whose copy of the
// library says what is done with a delivery: true if it has been put off.
struct kept_delivery {
    bool (*put_off)(kept_delivery&, arrival&) noexcept;
    int signal;            // 0 while there is none
    std::int32_t process;  // where it came
    kernel_set closed;     // what was masked because of it
    siginfo_t info;
};

// For whoever is in no hurry. The compiler forgets how the address came about, or it would work it out for each member.
inline slot& slot_of(table& in, int signal) noexcept {
    slot* of = &in.slots[signal];
    __asm__("" : "+r"(of));
    return *of;
}

// Where a thread begins to look for a cell. A signal's tag above the thread pointer is cut off.
inline unsigned first_cell(std::uintptr_t self) noexcept {
    return static_cast<unsigned>((self >> 6) ^ (self >> 12) ^ (self >> 22));
}

// The own cell of a thread, also one that has been taken away, or the free one where the search for it ends; null if
// there is neither. Cells are never given back, so that a search ends at the first free one.
[[gnu::visibility("hidden"), gnu::noinline, gnu::cold]] inline own_cell* find_own_cell(
    table& in, std::uintptr_t self) noexcept {
    unsigned const start = first_cell(self);
    for (unsigned i = 0; i < own_count; ++i) {
        own_cell& candidate = in.own[(start + i) % own_count];
        std::uintptr_t const owner = candidate.owner.load();
        if ((owner & ~taken_away) == self || owner == 0) return &candidate;
    }
    return nullptr;
}

// How a thread marks itself as being inside a slot, so that the removal of a link can wait for it. Never an object: a
// destructor would have the compiler prepare for exceptions that there are none of.
struct inside {
    static std::uintptr_t tag(int signal, std::uintptr_t self = thread_pointer()) noexcept {
        return self | static_cast<std::uintptr_t>(signal) << signal_shift;
    }

    // In a cell that is shared. Answers where; null if none was free.
    [[gnu::always_inline]] static atomic<std::uintptr_t>* enter(table& in, int signal) noexcept {
        std::uintptr_t const self = tag(signal);
        unsigned const start = first_cell(self);
        if (in.cells_in_use.load() == 0) in.cells_in_use.store(1);
        for (unsigned i = 0; i < cell_count; ++i) {
            cell& candidate = in.cells[(start + i) % cell_count];
            if (candidate.holder.load_relaxed() != 0) continue;
            if (i > in.farthest_cell.load_relaxed()) go_as_far_as(in, i);
            if (candidate.holder.replace(0, self)) return &candidate.holder;
        }
        slot_of(in, signal).crowd.fetch_add(1);
        return nullptr;
    }

    // Before code is called that may never return.
    static void leave(table& in, int signal, atomic<std::uintptr_t>* holder) noexcept {
        if (holder != nullptr)
            holder->store_release(0);
        else
            slot_of(in, signal).crowd.fetch_sub(1);
    }

  private:
    // Before the cell is taken: what this thread marks is never farther away than that.
    [[gnu::always_inline]] static void go_as_far_as(table& in, std::uint32_t i) noexcept {
        std::uint32_t found = in.farthest_cell.load();
        while (found < i && !in.farthest_cell.compare_exchange(found, i)) {
        }
    }
};

// The shared cells that this thread may have marked, each with what it holds.
template <class Visit>
void for_marks_of(table const& in, std::uintptr_t self, Visit visit) noexcept {
    unsigned const start = first_cell(self);
    unsigned const farthest = in.farthest_cell.load();
    for (unsigned i = 0; i <= farthest; ++i) {
        std::uintptr_t const held = in.cells[(start + i) % cell_count].holder.load_relaxed();
        if ((held & thread_bits) == self) visit(static_cast<int>(held >> signal_shift));
    }
}

// In how many handlers of faults this thread is.
[[gnu::noinline, gnu::cold]] inline unsigned faults_under_way(table const& in) noexcept {
    unsigned found = 0;
    for_marks_of(in, thread_pointer(), [&found](int signal) noexcept { found += is_fault(signal) ? 1U : 0U; });
    return found;
}

}  // namespace tocsin::in_signal
