// SPDX-License-Identifier: MIT
// The thread that looks whether something is late, and the queue of what it found.
//
// Runs on the watcher thread; what it watches is added and removed on any ordinary thread, and what it finds is dealt
// with on the helper thread. The watcher sleeps until the nearest time at which something asks to be looked at. What
// asks at about the same pace is looked at together, so that however many there are, they cost the wake-ups of one.
//
// Nobody else's system call is interrupted: no signal, no timer of the process, a futex with a timeout on a thread of
// our own. A tracer in another pid namespace is not seen (proc_pid_status(5): TracerPid is 0 then).
#pragma once

#include <fcntl.h>
#include <time.h>

#include <new>

#include <tocsin/posix/owned_source.hpp>

namespace tocsin::posix {

// Of CLOCK_MONOTONIC, in nanoseconds.
[[gnu::visibility("hidden")]] inline constexpr std::uint64_t never = ~std::uint64_t{0};

// What `asleep_until` says before the watcher's first look, which may come late.
inline constexpr std::uint64_t never_looked = never - 1;

// Of the monotonic clock. By libc, which asks the kernel's page and not the kernel.
inline std::uint64_t time_by_libc() noexcept {
    timespec read;
    ::clock_gettime(CLOCK_MONOTONIC, &read);
    return static_cast<std::uint64_t>(read.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(read.tv_nsec);
}

namespace detail {

// The process that traces this one, 0 if none.
inline std::int32_t find_tracer() noexcept {
    int const file = in_signal::openat(AT_FDCWD, "/proc/self/status", O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    char text[1024];  // the field is among the first ten, and the name before it has 64 bytes at most
    long const length = in_signal::read(file, text, sizeof text - 1);
    in_signal::close(file);
    text[length > 0 ? length : 0] = '\0';
    constexpr char field[] = "\nTracerPid:\t";
    char const* digit = __builtin_strstr(text, field);
    if (digit == nullptr) return 0;
    std::int32_t tracer = 0;
    for (digit += sizeof field - 1; *digit >= '0' && *digit <= '9'; ++digit) tracer = tracer * 10 + (*digit - '0');
    return tracer;
}

}  // namespace detail

// One look of the watcher at everything. Shared by every copy of the library in the process, as is `watched`.
struct look {
    std::uint64_t now;
    std::int32_t process;      // that the watcher runs in
    std::int32_t tracer = -1;  // asked for when first needed
    std::uint64_t late = 0;    // nanoseconds that the watcher woke after it should have

    bool traced() noexcept {
        if (tracer < 0) tracer = detail::find_tracer();
        return tracer != 0;
    }
};

// What is looked at. `tick` is called under the table's lock once `due` has come, or a little earlier if the watcher
// is awake anyway; it says in `due` when it wants to be looked at again. All of it belongs to the table's lock.
struct watched {
    watched* next = nullptr;
    watched** place = nullptr;  // what points here; null if nothing does
    std::uint64_t due = never;
    unsigned level = 0;
    bool hung = false;  // has not been fed for so long that a reaction was due
    void (*tick)(watched&, look&) noexcept = nullptr;
};

// All that is looked at every 2^n to 2^(n+1) nanoseconds.
struct watch_level {
    watched* first = nullptr;
    std::uint64_t due = never;
};

// What the helper has to run because of a look: `first` of it, once for each time that it is posted.
struct alarm_source : owned_source {
    bool posted = false;
    std::int32_t posted_in = 0;  // a forked child does not have what its parent posted
};

inline constexpr unsigned watch_levels = 64;

// Who makes sure that either the watcher sees what a thread has armed, or that thread sees for how long the watcher is
// going to sleep: a fence between the store and the load on both sides, or one that the watcher lays into all threads.
enum fences : std::uint32_t {
    fences_untried,  // each thread its own; the watcher has not asked the kernel yet
    fences_by_each,  // each thread its own; the kernel refuses the other
    fences_by_watcher,
};

struct watch_room;

// The helper's way to what has been posted.
struct post_runner : source {
    watch_room* room = nullptr;
};

// What the watcher knows. It hangs on the watcher's service, so that every copy of the library finds the same.
struct watch_room : source {
    watch_level levels[watch_levels];
    post_runner runner;
    alarm_source* first_posted = nullptr;
    alarm_source* last_posted = nullptr;
    table* in = nullptr;
    std::int32_t process = 0;                 // that the queue of posts belongs to
    in_signal::atomic<std::uint64_t> asleep_until{never_looked};
    in_signal::atomic<std::uint64_t> asked{never};  // to stay awake until then, for deadlines to come and go
    in_signal::atomic<std::uint32_t> fenced;  // see `fences`
    // Looks at the deadlines of all threads, and answers when the nearest is; null until there was one.
    in_signal::atomic<std::uint64_t (*)(watch_room&, look&) noexcept> look_at_deadlines;
    void* deadlines = nullptr;
    void* dump_later = nullptr;
};

namespace detail {

inline unsigned level_of_pace(std::uint64_t pace) noexcept {
    return static_cast<unsigned>(63 - __builtin_clzll(pace | 1));
}

// Every step leaves the list whole for a child that is forked in between: who is in it can be reached from its
// beginning, and `place` is believed only if it leads back.
inline void link_watched(watch_room& room, watched& added, std::uint64_t pace) noexcept {
    added.level = level_of_pace(pace);
    watch_level& level = room.levels[added.level];
    added.next = level.first;
    added.place = &level.first;
    __atomic_store_n(&level.first, &added, __ATOMIC_SEQ_CST);
    if (added.next != nullptr) __atomic_store_n(&added.next->place, &added.next, __ATOMIC_SEQ_CST);
    if (added.due < level.due) level.due = added.due;
}

inline void unlink_watched(watch_room& room, watched& removed) noexcept {
    if (removed.place == nullptr) return;
    watched** at = removed.place;
    if (*at != &removed)
        for (at = &room.levels[removed.level].first; *at != nullptr && *at != &removed;) at = &(*at)->next;
    if (removed.next != nullptr) __atomic_store_n(&removed.next->place, at, __ATOMIC_SEQ_CST);
    if (*at != nullptr) __atomic_store_n(at, removed.next, __ATOMIC_SEQ_CST);
    removed.place = nullptr;
}

// Wants to be looked at, at another time than it said at its last look.
inline void look_sooner(watch_room& room, watched& at, std::uint64_t due) noexcept {
    at.due = due;
    if (due < room.levels[at.level].due) room.levels[at.level].due = due;
}

// Under the table's lock.
inline void post_alarm(watch_room& room, alarm_source& posted, std::int32_t process) noexcept {
    if (posted.posted && posted.posted_in == process) return;
    posted.posted = true;
    posted.posted_in = process;
    posted.next = nullptr;
    if (room.first_posted == nullptr)
        room.first_posted = &posted;
    else
        room.last_posted->next = &posted;
    room.last_posted = &posted;
    wake_service(room.in->services[in_signal::helper]);
}

inline void forget_alarm(watch_room& room, alarm_source& posted) noexcept {
    source* before = nullptr;
    source* at = room.first_posted;
    for (; at != nullptr && at != &posted; at = at->next) before = at;
    if (at == nullptr) return;
    auto* const behind = static_cast<alarm_source*>(posted.next);
    if (before != nullptr)
        before->next = behind;
    else
        room.first_posted = behind;
    if (room.last_posted == &posted) room.last_posted = static_cast<alarm_source*>(before);
    posted.posted = false;
}

// Before anything is posted or run in this process.
inline void begin_in_process(watch_room& room) noexcept {
    std::int32_t const self = in_signal::getpid();
    if (room.process == self) return;
    room.first_posted = nullptr;
    room.last_posted = nullptr;
    room.process = self;
}

inline alarm_source* next_alarm(watch_room& room) noexcept {
    table_lock const locked{*room.in};
    begin_in_process(room);
    alarm_source* const at = room.first_posted;
    if (at == nullptr) return nullptr;
    room.first_posted = static_cast<alarm_source*>(at->next);
    at->posted = false;
    at->busy.store(busy_here());
    return at;
}

inline void run_alarms(watch_room& room) noexcept {
    while (alarm_source* const at = next_alarm(room)) {
        at->first(*at);
        give_back(*at);
    }
}

// Looks at all that is due, and answers when the next is. A level that is due soon has its look now, if the watcher
// is awake already: the paces of different levels fall into step.
inline std::uint64_t look_around(watch_room& room, look& at) noexcept {
    std::uint64_t next = never;
    for (unsigned i = 0; i < watch_levels; ++i) {
        watch_level& level = room.levels[i];
        std::uint64_t const soon = (std::uint64_t{1} << i) / 8;
        if (level.due <= at.now || level.due - at.now <= soon) {
            level.due = never;
            for (watched* each = level.first; each != nullptr; each = each->next) {
                each->tick(*each, at);
                if (each->due < level.due) level.due = each->due;
            }
        }
        if (level.due < next) next = level.due;
    }
    return next;
}

// Asks the kernel for fences in other threads. This takes it some milliseconds, once in a process.
inline void try_fences(watch_room& room) noexcept {
    bool const granted = in_signal::register_for_barrier() == 0 && in_signal::expedited_barrier() == 0;
    room.fenced.store(granted ? fences_by_watcher : fences_by_each);
}

// Lays a fence into every thread of the process: membarrier(2), MEMBARRIER_CMD_PRIVATE_EXPEDITED. False if it was
// promised and is refused by now (a sandbox that was entered later): the threads lay their own from now on, but one of
// them may have just counted on ours.
inline bool fence_all(watch_room& room) noexcept {
    if (room.fenced.load() != fences_by_watcher || in_signal::expedited_barrier() == 0) return true;
    try_fences(room);
    return room.fenced.load() == fences_by_watcher;
}

// Until when the watcher sleeps, for who has just stored what it is to see. A fence of the watcher's falls either
// behind the store, which the watcher then sees, or before the load.
inline std::uint64_t end_of_sleep(watch_room const& room) noexcept {
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (room.fenced.load_acquire() != fences_by_watcher) [[unlikely]]
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return room.asleep_until.load_acquire();
}

// A deadline that is armed reads `asleep_until` after it has become visible, and the watcher looks at the deadlines
// after it has written that: one of the two sees the other. Where that is not sure, the sleep is to be a short one:
// what has been stored when it ends has left its processor's buffer long since.
inline std::uint64_t settle_down(watch_room& room, look& at, std::uint64_t due) noexcept {
    constexpr std::uint64_t buffers_are_empty = 1'000'000;
    auto* const deadlines = room.look_at_deadlines.load();
    std::uint64_t until = due;
    for (bool guessed = deadlines == nullptr;; guessed = true) {
        bool sure = true;
        if (guessed) {
            room.asleep_until.store(until);
            sure = fence_all(room);
        }
        if (deadlines == nullptr) return due;
        std::uint64_t const nearest = deadlines(room, at);
        std::uint64_t const found = nearest < due ? nearest : due;
        if (!sure) return at.now + buffers_are_empty < found ? at.now + buffers_are_empty : found;
        if (guessed && found == until) return until;
        until = found;
        at.late = 0;
    }
}

// Sleeps until something is due or has been added. One look after another, and each reads the clock anew: what is
// overdue by much has one look as everything else.
inline void* keep_watch(void* argument) {
    auto& in = *static_cast<table*>(argument);
    service& of = in.services[in_signal::watcher];
    auto& room = *static_cast<watch_room*>(of.sources);
    for (std::uint64_t planned = never;;) {
        of.work.store(0);
        look at{in_signal::monotonic(), 0};
        std::uint64_t const asked = room.asked.load();
        if (asked < planned) planned = asked;
        if (at.now > planned) at.late = at.now - planned;
        {
            table_lock const locked{in};
            begin_in_process(room);
            at.process = room.process;
            planned = look_around(room, at);
        }
        planned = settle_down(room, at, planned);
        std::uint64_t const now = in_signal::monotonic();
        if (planned <= now) continue;
        constexpr std::uint64_t trial_takes = 20'000'000;
        bool const wants_fences = room.look_at_deadlines.load() != nullptr && room.fenced.load() == fences_untried;
        if (wants_fences && planned - now > trial_takes) {
            try_fences(room);
            continue;  // what has been armed meanwhile may count on the fences
        }
        in_signal::futex_wait(of.work.address(), 0, planned == never ? 0 : planned - now);
    }
}

}  // namespace detail

// The room of the process, made on the first call; null where no memory is left. Under the table's lock.
inline watch_room* find_room(table& in) noexcept {
    service& of = in.services[in_signal::watcher];
    if (of.sources != nullptr) return static_cast<watch_room*>(of.sources);
    auto* const room = ::new (std::nothrow) watch_room;
    if (room == nullptr) return nullptr;
    room->in = &in;
    room->runner.room = room;
    room->runner.first = [](source& self) noexcept { detail::run_alarms(*static_cast<post_runner&>(self).room); };
    service& helper = in.services[in_signal::helper];
    room->runner.next = helper.sources;
    helper.sources = &room->runner;
    of.sources = room;
    return room;
}

// The room once something has been added to it.
inline watch_room& room_of(table& in) noexcept {
    return *static_cast<watch_room*>(in.services[in_signal::watcher].sources);
}

// Sees to it that watcher and helper run in this process, and that the watcher knows what has been added. Not `sooner`
// is what its level had a look for before the new one's time: its sleep ends then anyway.
inline failure start_watcher(table& in, bool sooner = true) noexcept {
    detail::pin_this_object();
    failure const refused = start_service(in, in_signal::helper, &detail::serve<in_signal::helper>);
    if (refused) return refused;
    if (sooner) wake_service(in.services[in_signal::watcher]);
    return start_service(in, in_signal::watcher, &detail::keep_watch);
}

}  // namespace tocsin::posix
