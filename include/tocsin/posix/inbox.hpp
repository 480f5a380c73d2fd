// SPDX-License-Identifier: MIT
// Taking deliveries out of an inbox.
//
// Runs on any ordinary thread, on several at once if need be: each delivery goes to one of them. The write side
// is `in_signal/inbox.hpp`.
#pragma once

#include <dirent.h>
#include <sys/mman.h>

#include <tocsin/failure.hpp>
#include <tocsin/in_signal/inbox.hpp>

namespace tocsin::posix {

using in_signal::inbox;
using in_signal::ring;

// Gives a real-time signal of this inbox its ring.
inline failure add_ring(inbox& box, int signal, std::uint32_t records) noexcept {
    if (box.rings[signal] != nullptr) return {};
    std::size_t const bytes = sizeof(ring) + 2 * std::size_t{records} * sizeof(in_signal::queued_record);
    // fresh pages are zero, which is an empty ring, and cost nothing before they are used
    void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return {errno, "mmap", signal};
    auto* const made = static_cast<ring*>(memory);
    made->places = 2 * std::uint64_t{records};
    made->records = reinterpret_cast<in_signal::queued_record*>(made + 1);
    box.rings[signal] = made;
    return {};
}

inline void remove_rings(inbox& box) noexcept {
    for (ring*& each : box.rings) {
        if (each == nullptr) continue;
        ::munmap(each, sizeof(ring) + each->places * sizeof(in_signal::queued_record));
        each = nullptr;
    }
}

// How many deliveries of a signal a walk may take, so that a flood cannot hold it. At least one: a bit whose delivery
// another thread was faster to take is cleared by looking for it.
inline std::uint64_t waiting_at(inbox const& box, int place) noexcept {
    if (place <= in_signal::watchdog_place) return 1;
    std::uint64_t const used = box.rings[place]->used();
    return used != 0 ? used : 1;
}

namespace detail {

// Asks a thread that left its handler with `signal` masked to open it again. False if the kernel's queue is full.
inline bool ask_to_open(in_signal::table& in, std::int32_t thread, int signal) noexcept {
    siginfo_t info{};
    info.si_code = SI_QUEUE;
    info.si_pid = in_signal::getpid();
    info.si_value.sival_int = signal;
    int const reserved = in.reserved_signal.load();
    return in_signal::queue_to_thread(info.si_pid, thread, reserved, &info) != -EAGAIN;
}

inline void open_here(int signal) noexcept {
    in_signal::kernel_set const opened = in_signal::bit_of(signal);
    in_signal::change_mask(SIG_UNBLOCK, &opened, nullptr);
}

// While every thread that could take the signal is parked, the kernel's queue may be so full that it refuses
// even the request to open one: then this thread takes one of the waiting signals itself.
inline bool take_one_waiting(ring& r, int signal) noexcept {
    in_signal::kernel_set const wanted = in_signal::bit_of(signal);
    in_signal::kernel_set before;
    in_signal::change_mask(SIG_BLOCK, &wanted, &before);
    siginfo_t info{};
    timespec const now{};
    long const taken = in_signal::system_call(SYS_rt_sigtimedwait, in_signal::as_word(&wanted),
                                              in_signal::as_word(&info), in_signal::as_word(&now),
                                              sizeof wanted);
    if (taken == signal) in_signal::push(r, delivery{signal, info});
    in_signal::change_mask(SIG_SETMASK, &before, nullptr);
    return taken == signal;
}

// False if the thread could not be asked, because others keep the kernel's queue full.
inline bool open_thread(in_signal::table& in, ring& r, std::int32_t thread, int signal) noexcept {
    if (thread == in_signal::gettid()) {
        open_here(signal);
        return true;
    }
    while (!ask_to_open(in, thread, signal))
        if (r.full() || !take_one_waiting(r, signal)) return false;
    return true;
}

inline bool open_all_threads(in_signal::table& in, ring& r, int signal) noexcept {
    DIR* const tasks = ::opendir("/proc/self/task");
    if (tasks == nullptr) return false;
    bool all = true;
    while (dirent const* const entry = ::readdir(tasks)) {
        std::int32_t thread = 0;
        for (char const* digit = entry->d_name; *digit >= '0' && *digit <= '9'; ++digit)
            thread = thread * 10 + (*digit - '0');
        if (thread != 0) all = open_thread(in, r, thread, signal) && all;
    }
    ::closedir(tasks);
    return all;
}

// Opens a signal on the threads that a full ring made mask it. Whoever could not be asked stays noted; false then.
inline bool reopen(in_signal::table& in, ring& r, int signal) noexcept {
    if (r.used() > r.places / 4) return true;
    bool all = true;
    if (r.parked_everywhere.load() != 0 && r.parked_everywhere.exchange(0) != 0)
        all = open_all_threads(in, r, signal);
    if (!all) r.parked_everywhere.store(1);
    for (in_signal::parked_thread& place : r.parked) {
        std::int32_t const thread = place.number.load();
        if (thread == 0 || !place.number.replace(thread, 0) || open_thread(in, r, thread, signal)) continue;
        all = false;
        if (!place.number.replace(0, thread)) r.parked_everywhere.store(1);
    }
    return all;
}

// The only thread of a forked child has the mask of the one that forked, which may have been parked.
inline void open_in_child(ring& r, int signal) noexcept {
    bool parked = r.parked_everywhere.exchange(0) != 0;
    for (in_signal::parked_thread& place : r.parked) {
        place.number.store(0);
        parked = place.pointer.exchange(0) == in_signal::thread_pointer() || parked;
    }
    if (parked) open_here(signal);
}

inline bool pop(ring& r, delivery& what) noexcept {
    std::uint64_t position = r.head.load();
    for (;;) {
        in_signal::queued_record& place = r.records[position & (r.places - 1)];
        std::uint64_t const turn = position / r.places * 2 + 1;
        std::uint64_t const found = place.turn.load_acquire();
        if (found < turn) return false;
        if (found > turn || !r.head.compare_exchange(position, position + 1)) {
            position = r.head.load();
            continue;
        }
        what = place.what;
        place.turn.store_release(turn + 1);
        return true;
    }
}

inline bool take_realtime(in_signal::table& in, inbox& box, int signal, delivery& what) noexcept {
    ring& r = *box.rings[signal];
    std::uint64_t const bit = in_signal::bit_of(signal);
    bool const taken = pop(r, what);
    bool const all_open = reopen(in, r, signal);
    if (r.used() != 0) {
        if ((box.bits->load() & bit) == 0) box.bits->fetch_or(bit);
        return taken || pop(r, what);
    }
    if (!all_open) return taken;  // the bit stays: the next look asks again
    box.bits->fetch_and(~bit);
    if (r.used() != 0) box.bits->fetch_or(bit);
    return taken;
}

// A record that is being written counts as not there: who writes it tells again when it is done.
inline bool take_record(in_signal::standard_record& record, delivery& what) noexcept {
    if (!record.state.replace(in_signal::record_written, in_signal::record_being_read)) return false;
    delivery const first = record.first;
    record.state.store(in_signal::record_empty);
    std::uint64_t const arrivals = record.arrivals.exchange(0);
    what = first.merged(arrivals);
    return arrivals != 0;
}

inline bool take_standard(inbox& box, int place, delivery& what) noexcept {
    box.bits->fetch_and(~in_signal::bit_of(place));
    return take_record(box.standard[place], what);
}

}  // namespace detail

namespace detail {

inline bool has_parked(ring const& r) noexcept {
    bool any = r.parked_everywhere.load() != 0;
    for (in_signal::parked_thread const& place : r.parked) any = any || place.number.load() != 0;
    return any;
}

// Takes what waits in the kernel for any thread, and drops it: it was sent while a claim was there, and must not meet
// the default that may be next.
inline void drop_waiting(int signal) noexcept {
    constexpr int most = 1'000'000;  // a sender that never ends has to live with what comes next
    in_signal::kernel_set const wanted = in_signal::bit_of(signal);
    in_signal::kernel_set before;
    in_signal::change_mask(SIG_BLOCK, &wanted, &before);
    timespec const now{};
    for (int taken = 0; taken < most; ++taken)
        if (in_signal::system_call(SYS_rt_sigtimedwait, in_signal::as_word(&wanted), 0, in_signal::as_word(&now),
                                   sizeof wanted) != signal)
            break;
    in_signal::change_mask(SIG_SETMASK, &before, nullptr);
}

}  // namespace detail

// Before the claims of an inbox are withdrawn: threads that its full rings made mask a signal open it again.
inline void settle(in_signal::table& in, inbox& box) noexcept {
    for (int signal = 1; signal < in_signal::slot_count; ++signal) {
        if (box.rings[signal] == nullptr || !detail::has_parked(*box.rings[signal])) continue;
        if (box.process.load() != in_signal::getpid()) return;
        ring& r = *box.rings[signal];
        detail::drop_waiting(signal);
        r.closed.store(1);
        if (r.parked_everywhere.exchange(0) != 0) detail::open_all_threads(in, r, signal);
        for (in_signal::parked_thread& place : r.parked)
            if (std::int32_t const thread = place.number.exchange(0)) detail::open_thread(in, r, thread, signal);
    }
}

// Makes the inbox this process's own, which is a forked child.
inline void renew(inbox& box) noexcept {
    in_signal::start_clean(box, in_signal::getpid());
    box.woken.store(0);
    for (int signal = 1; signal < in_signal::slot_count; ++signal)
        if (box.rings[signal] != nullptr) detail::open_in_child(*box.rings[signal], signal);
}

// Takes one delivery of the signal at `place`, if there is one.
inline bool take(in_signal::table& in, inbox& box, int place, delivery& what) noexcept {
    return place <= in_signal::watchdog_place ? detail::take_standard(box, place, what)
                                              : detail::take_realtime(in, box, place, what);
}

// The lowest signal of `bits`, as a place in an inbox; 0 if there is none.
inline int lowest(std::uint64_t bits) noexcept { return bits == 0 ? 0 : __builtin_ctzll(bits) + 1; }

}  // namespace tocsin::posix
