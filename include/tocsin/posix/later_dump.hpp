// SPDX-License-Identifier: MIT
// The report that is written when a time is up, unless somebody takes it back.
//
// Runs on any ordinary thread (arming), on the watcher thread (the time) and on the helper thread (the report). There
// is one in the process; arming it again replaces it. It writes to a duplicate that is closed when nobody needs it any
// more, be it after a report that takes long.
//
// Who arms it twice within a second for the same descriptor is likely to go on so. If it is a terminal or another
// character device or a regular file, its duplicate is kept then for up to a second after the last arming, and used
// again if the kernel says that it still is the same open file: one system call. That of a pipe or a socket is closed
// at once: its reader waits for that.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <new>

#include <tocsin/libc_functions.hpp>
#include <tocsin/posix/later_order.hpp>
#include <tocsin/posix/registry.hpp>
#include <tocsin/posix/reporter.hpp>
#include <tocsin/posix/watcher.hpp>

namespace tocsin::posix {

inline constexpr std::uint64_t longest_wait_for_cancel = 1'000'000'000;
inline constexpr std::uint64_t longest_parking = 1'000'000'000;

// Never freed. All but `writing` belongs to the table's lock. At most one of `order` and `parked` is there.
struct later_dump : watched {
    struct alarm_part : alarm_source {
        later_dump* dump = nullptr;
    } alarm;
    watch_room* room = nullptr;
    later_order* order = nullptr;
    later_order* passed = nullptr;            // the order, once its time is up and until the helper has seen it
    std::int32_t process = 0;                 // that it is armed in
    in_signal::atomic<std::uint32_t> writing;  // the process that a report is being written in
    later_order* parked = nullptr;            // taken back, but likely to be armed again soon
    later_order* dropped = nullptr;           // not armed again soon: the helper closes it
    std::uint64_t armed_at = 0;
    int armed_fd = -1;
    bool often = false;  // armed twice within `longest_parking` for the same descriptor
};

namespace detail {

// The process in which this copy of the library has armed the long way: its code stays, what it needs is there.
[[gnu::visibility("hidden")]] inline constinit in_signal::atomic<std::int32_t> later_ready_in{};

inline void look_at_later_dump(watched& self, look& at) noexcept {
    auto& dump = static_cast<later_dump&>(self);
    if (dump.process != at.process || (dump.order == nullptr && dump.parked == nullptr)) {
        dump.due = never;
    } else if (dump.due > at.now) {
        return;
    } else if (dump.order != nullptr) {
        std::uint64_t const period = dump.order->microseconds * 1000;
        std::uint64_t const missed = (at.now - dump.due) / period;
        dump.due = dump.order->repeated ? dump.due + (missed + 1) * period : never;
        dump.passed = dump.order;
        post_alarm(*dump.room, dump.alarm, at.process);
    } else if (dump.dropped != nullptr) {
        dump.due = at.now + longest_parking;
    } else {
        dump.due = never;
        dump.dropped = dump.parked;
        dump.parked = nullptr;
        post_alarm(*dump.room, dump.alarm, at.process);
    }
}

inline void write_later_dump(table& in, later_order const& order) noexcept {
    report_desk* const desk = in_signal::desk_of(in);
    if (desk == nullptr) return;
    in_signal::report_turn const turn{*desk};
    if (!turn.taken()) return in_signal::say(order.target.usable_fd(), "tocsin: another report does not end\n");
    if (turn.inherited()) in_signal::forget_report(*desk);
    in_signal::fixed_line<64> title;
    append_timeout(title, order.microseconds);
    title.character('\0');
    in_signal::report_order what;
    what.why = in_signal::occasion::hang;
    what.title = title.data();
    what.this_thread_only = order.this_thread_only;
    what.thread = in_signal::getpid();
    int const fd = open_later_report(order);
    in_signal::write_in_steps(in, *desk, what, fd, order.writer);
    in_signal::close_report(order.target, fd);
}

// On the helper.
inline void run_later_dump(later_dump& dump) noexcept {
    table& in = *dump.room->in;
    later_order* order = nullptr;
    later_order* dropped = nullptr;
    {
        table_lock const locked{in};
        if (dump.process != in_signal::getpid()) return;
        order = dump.passed;
        dropped = dump.dropped;
        dump.passed = dump.dropped = nullptr;
        if (order != nullptr) order->references.fetch_add(1);
        if (order != nullptr) dump.writing.store(busy_here());
    }
    if (dropped != nullptr) dropped->release();
    if (order == nullptr) return;
    write_later_dump(in, *order);
    bool exits = false;
    {
        table_lock const locked{in};
        exits = order->exiting && dump.order == order;
        dump.writing.store(0);
    }
    if (exits) in_signal::exit_now(1);
    in_signal::futex_wake(dump.writing.address(), 1 << 30);
    order->release();
}

// Under the table's lock.
inline later_dump* find_later_dump(watch_room& room) noexcept {
    if (room.dump_later != nullptr) return static_cast<later_dump*>(room.dump_later);
    void* const memory = libc::malloc(sizeof(later_dump));
    if (memory == nullptr) return nullptr;
    auto* const made = ::new (memory) later_dump;
    made->room = &room;
    made->tick = &look_at_later_dump;
    made->alarm.dump = made;
    made->alarm.first = [](source& self) noexcept {
        run_later_dump(*static_cast<later_dump::alarm_part&>(self).dump);
    };
    room.dump_later = made;
    return made;
}

// Under the table's lock; null if nothing has ever been asked for.
inline later_dump* known_later_dump(table& in) noexcept {
    auto* const room = static_cast<watch_room*>(in.services[in_signal::watcher].sources);
    return room != nullptr ? static_cast<later_dump*>(room->dump_later) : nullptr;
}

// In a forked child nothing is armed: the descriptors are the parent's. The memory is given back with the next order.
[[gnu::visibility("hidden")]] inline void close_later_dumps_of_parent() noexcept {
    table* const in = in_signal::the_table.load_acquire();
    later_dump* const dump = in != nullptr ? known_later_dump(*in) : nullptr;
    if (dump == nullptr || dump->process == in_signal::getpid()) return;
    if (dump->order != nullptr) dump->order->close();
    if (dump->parked != nullptr) dump->parked->close();
    if (dump->dropped != nullptr) dump->dropped->close();
}

// Under the table's lock. True if the watcher has to be woken: the time comes sooner than its level has a look.
inline bool set_later_alarm(watch_room& room, later_dump& dump, int fd, std::uint64_t pace) noexcept {
    std::uint64_t const now = time_by_libc();
    dump.often = dump.armed_fd == fd && now - dump.armed_at < longest_parking;
    dump.armed_fd = fd;
    dump.armed_at = now;
    unsigned const level = level_of_pace(pace);
    bool const sooner = now + pace < room.levels[level].due;
    if (dump.place != nullptr && dump.level == level) {
        look_sooner(room, dump, now + pace);
    } else {
        unlink_watched(room, dump);
        dump.due = now + pace;
        link_watched(room, dump, pace);
    }
    return sooner;
}

// What was asked for before is forgotten. The caller gives back what this answers, and wakes the watcher if its time
// comes `sooner` than the watcher knows of.
inline failure exchange_later(table& in, later_order& next, later_order*& before, bool& sooner) noexcept {
    table_lock const locked{in};
    watch_room* const room = find_room(in);
    later_dump* const dump = room != nullptr ? find_later_dump(*room) : nullptr;
    if (dump == nullptr) return {ENOMEM, "malloc", 0};
    before = dump->order != nullptr ? dump->order : dump->parked;
    dump->order = &next;
    dump->parked = dump->passed = nullptr;
    std::int32_t const process = live_process(in);
    if (dump->process != process) unlink_watched(*room, *dump);
    dump->process = process;
    sooner = set_later_alarm(*room, *dump, next.fd, next.microseconds * 1000);
    return {};
}

// Whether all that the long way provides is there: threads and code, and that threads can be asked for their stacks, by
// a claim for ever or by the one of a guard. Under the table's lock.
inline bool is_ready_for_later(table& in) noexcept {
    report_desk const* const desk = in_signal::desk_of(in);
    int const number = in.reserved_signal.load_relaxed();
    std::int32_t const process = in.live_process->load_relaxed();
    if (process == 0 || later_ready_in.load_relaxed() != process || desk == nullptr || number == 0) return false;
    link const* const newest = in.slots[number].newest.load();
    return desk->claimed.load_relaxed() != 0 || (newest != nullptr && newest->is_claim());
}

// Arms what is armed already, or has been taken back a moment ago, if the descriptor still is what it was then. False
// if it has to be armed the long way, which also finds out what is to be refused.
inline bool arm_later_again(table& in, later_words const& asked) noexcept {
    bool sooner = false;
    {
        table_lock const locked{in};
        std::int32_t const process = in.live_process->load_relaxed();
        later_dump* const dump = known_later_dump(in);
        if (dump == nullptr || dump->process != process || !is_ready_for_later(in)) return false;
        later_order* const kept = dump->order != nullptr ? dump->order : dump->parked;
        if (kept == nullptr || kept->path != nullptr || asked.path != nullptr) return false;
        if (kept->references.load() != 1) return false;  // a report of it is being written
        if (!is_same_open_file(asked.fd, kept->target.out.fd, process)) return false;
        static_cast<later_words&>(*kept) = asked;
        kept->recognised = true;
        dump->order = kept;
        dump->parked = dump->passed = nullptr;
        sooner = set_later_alarm(*dump->room, *dump, asked.fd, asked.microseconds * 1000);
    }
    if (sooner) wake_service(in.services[in_signal::watcher]);
    return true;
}

// A file stays open a little longer than it is needed; who reads a pipe or a socket waits for its end.
inline bool may_be_parked(table& in, later_dump const& dump) noexcept {
    later_order const& order = *dump.order;
    std::uint64_t const type = order.target.out.type;
    return dump.often && dump.process == in.live_process->load_relaxed() && order.path == nullptr &&
           order.references.load() == 1 && (type == S_IFREG || type == S_IFCHR);
}

// Under the table's lock. Answers what the caller gives back.
inline later_order* take_back_later(table& in, later_dump& dump, bool& sooner) noexcept {
    later_order* const order = dump.order;
    dump.passed = nullptr;
    if (order == nullptr) return nullptr;
    bool const parks = may_be_parked(in, dump);
    dump.parked = parks ? order : nullptr;
    dump.order = nullptr;
    if (!parks) {
        unlink_watched(*dump.room, dump);
        return order;
    }
    std::uint64_t const until = dump.armed_at + longest_parking;
    sooner = until < dump.room->levels[dump.level].due;
    look_sooner(*dump.room, dump, until);
    return nullptr;
}

// A report that is being written is waited for, but not if it is stuck.
inline void await_later_dump(later_dump& dump) noexcept {
    std::uint64_t const end = in_signal::monotonic() + longest_wait_for_cancel;
    while (dump.writing.load() == busy_here()) {
        std::uint64_t const now = in_signal::monotonic();
        if (now >= end) return;
        in_signal::futex_wait(dump.writing.address(), busy_here(), end - now);
    }
}

}  // namespace detail

inline void cancel_later_dump() noexcept {
    table* const in = in_signal::the_table.load_acquire();
    if (in == nullptr) return;
    later_order* before = nullptr;
    later_dump* dump = nullptr;
    bool sooner = false;
    {
        table_lock const locked{*in};
        dump = detail::known_later_dump(*in);
        if (dump == nullptr) return;
        before = detail::take_back_later(*in, *dump, sooner);
    }
    if (sooner) wake_service(in->services[in_signal::watcher]);
    if (before != nullptr) before->release();
    if (dump->writing.load() == 0) return;
    if (in->services[in_signal::helper].thread.load() != in_signal::thread_pointer()) detail::await_later_dump(*dump);
}

namespace detail {

// Opens what it needs to write.
inline failure open_later_target(later_words const& asked, in_signal::report_target& target) noexcept {
    if (asked.path != nullptr) return open_directory(asked.path, target);
    int copy = -1;
    failure const refused = duplicate(asked.fd, copy);
    return refused ? refused : keep(target.out, copy);
}

inline failure start_later_threads(table& in, bool sooner) noexcept {
    if (failure const refused = start_watcher(in, sooner)) {
        cancel_later_dump();
        return refused;
    }
    static int const closes_in_children = libc::pthread_atfork(nullptr, nullptr, &close_later_dumps_of_parent);
    static_cast<void>(closes_in_children);
    later_ready_in.store(in.live_process->load());
    return {};
}

inline failure provide_for_later(table*& in, bool& ready) noexcept {
    if (failure const refused = find_table(in)) return refused;
    {
        table_lock const locked{*in};
        ready = is_ready_for_later(*in);
    }
    if (ready) return {};
    adopt_process(*in);
    return provide_captures(*in);
}

[[gnu::noinline]] inline failure arm_later_anew(later_words const& asked) noexcept {
    table* in = nullptr;
    bool ready = false;
    if (failure const refused = provide_for_later(in, ready)) return refused;
    auto* const order = ::new (std::nothrow) later_order{};
    if (order == nullptr) return {ENOMEM, "operator new", 0};
    static_cast<later_words&>(*order) = asked;
    later_order* before = nullptr;
    bool sooner = true;
    failure refused = open_later_target(asked, order->target);
    if (!refused) refused = exchange_later(*in, *order, before, sooner);
    if (refused) {
        order->release();
        return refused;
    }
    if (before != nullptr) before->release();
    if (!ready) return start_later_threads(*in, sooner);
    if (sooner) wake_service(in->services[in_signal::watcher]);
    return {};
}

}  // namespace detail

inline failure arm_later_dump(later_words const& asked) noexcept {
    table* const in = in_signal::the_table.load_acquire();
    return in != nullptr && detail::arm_later_again(*in, asked) ? failure{} : detail::arm_later_anew(asked);
}

}  // namespace tocsin::posix
