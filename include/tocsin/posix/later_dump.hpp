// SPDX-License-Identifier: MIT
// The report that is written when a time is up, unless somebody takes it back.
//
// Runs on any ordinary thread (arming), on the watcher thread (the time) and on the helper thread (the report). There
// is one in the process; arming it again replaces it. It writes to a duplicate that is closed when nobody needs it any
// more, be it after a report that takes long.
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <new>

#include <tocsin/posix/registry.hpp>
#include <tocsin/posix/reporter.hpp>
#include <tocsin/posix/watcher.hpp>

namespace tocsin::posix {

inline constexpr std::uint64_t longest_wait_for_cancel = 1'000'000'000;

// What has been asked for. Counted: by the one who asked, and by the helper while it writes.
struct later_order {
    std::uint64_t microseconds = 0;
    bool repeated = false;
    bool exiting = false;
    bool this_thread_only = false;
    in_signal::report_writer writer = nullptr;
    in_signal::report_target target;
    in_signal::atomic<std::uint32_t> references{1};

    void release() noexcept {
        if (references.fetch_sub(1) != 1) return;
        if (target.out.is_same()) ::close(target.out.fd);
        if (target.directory.is_same()) ::close(target.directory.fd);
        delete this;
    }
};

// As CPython's faulthandler has it: hours, minutes of two digits, seconds of two digits, and microseconds if any.
inline void append_timeout(in_signal::line& to, std::uint64_t microseconds) noexcept {
    std::uint64_t const seconds = microseconds / 1'000'000;
    auto const padded = [&to](std::uint64_t value, std::uint64_t from) noexcept {
        for (; from != 0; from /= 10) to.character(static_cast<char>('0' + value / from % 10));
    };
    to.text("Timeout (").decimal(seconds / 3600).character(':');
    padded(seconds / 60 % 60, 10);
    to.character(':');
    padded(seconds % 60, 10);
    if (microseconds % 1'000'000 != 0) {
        to.character('.');
        padded(microseconds % 1'000'000, 100'000);
    }
    to.text(")!");
}

// Never freed. All but `writing` belongs to the table's lock.
struct later_dump : watched {
    struct alarm_part : alarm_source {
        later_dump* dump = nullptr;
    } alarm;
    watch_room* room = nullptr;
    later_order* order = nullptr;
    later_order* passed = nullptr;            // the order, once its time is up and until the helper has seen it
    std::int32_t process = 0;                 // that it is armed in
    in_signal::atomic<std::uint32_t> writing;  // the process that a report is being written in
};

namespace detail {

inline void look_at_later_dump(watched& self, look& at) noexcept {
    auto& dump = static_cast<later_dump&>(self);
    if (dump.order == nullptr || dump.process != at.process) {
        dump.due = never;
    } else if (dump.due <= at.now) {
        std::uint64_t const period = dump.order->microseconds * 1000;
        std::uint64_t const missed = (at.now - dump.due) / period;
        dump.due = dump.order->repeated ? dump.due + (missed + 1) * period : never;
        dump.passed = dump.order;
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
    int const fd = in_signal::open_report(order.target);
    in_signal::write_in_steps(in, *desk, what, fd, order.writer);
    in_signal::close_report(order.target, fd);
}

// On the helper.
inline void run_later_dump(later_dump& dump) noexcept {
    table& in = *dump.room->in;
    later_order* order = nullptr;
    {
        table_lock const locked{in};
        order = dump.passed;
        dump.passed = nullptr;
        if (order == nullptr || dump.process != in_signal::getpid()) return;
        order->references.fetch_add(1);
        dump.writing.store(busy_here());
    }
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
    void* const memory = ::malloc(sizeof(later_dump));
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

// What was asked for before is forgotten; null asks for nothing. The caller gives back what this answers, and wakes the
// watcher if its time comes `sooner` than the watcher knows of.
inline failure exchange_later(table& in, later_order* next, later_order*& before, bool& sooner) noexcept {
    table_lock const locked{in};
    watch_room* const room = find_room(in);
    later_dump* const dump = room != nullptr ? find_later_dump(*room) : nullptr;
    if (dump == nullptr) return {ENOMEM, "malloc", 0};
    before = dump->order;
    dump->order = next;
    dump->passed = nullptr;
    unlink_watched(*room, *dump);
    forget_alarm(*room, dump->alarm);
    if (next == nullptr) return {};
    dump->process = in_signal::getpid();
    dump->due = in_signal::monotonic() + next->microseconds * 1000;
    std::uint64_t const pace = next->microseconds * 1000;
    sooner = dump->due < room->levels[level_of_pace(pace)].due;
    link_watched(*room, *dump, pace);
    return {};
}

// A report that is being written is waited for, but not if it is stuck.
inline void await_later_dump(table& in) noexcept {
    later_dump* dump = nullptr;
    {
        table_lock const locked{in};
        dump = static_cast<later_dump*>(room_of(in).dump_later);
    }
    std::uint64_t const end = in_signal::monotonic() + longest_wait_for_cancel;
    while (dump->writing.load() == busy_here()) {
        std::uint64_t const now = in_signal::monotonic();
        if (now >= end) return;
        in_signal::futex_wait(dump->writing.address(), busy_here(), end - now);
    }
}

}  // namespace detail

inline void cancel_later_dump() noexcept;

// Takes over the order.
inline failure arm_later_dump(later_order* order, int fd, char const* path) noexcept {
    table* in = nullptr;
    later_order* before = nullptr;
    bool sooner = true;
    failure refused = find_table(in);
    if (!refused) {
        adopt_process(*in);
        refused = provide_captures(*in);
    }
    int copy = -1;
    if (!refused && path == nullptr) refused = duplicate(fd, copy);
    if (copy >= 0) refused = keep(order->target.out, copy);
    if (!refused && path != nullptr) refused = open_directory(path, order->target);
    if (!refused) refused = detail::exchange_later(*in, order, before, sooner);
    if (refused) {
        order->release();
        return refused;
    }
    if (before != nullptr) before->release();
    refused = start_watcher(*in, sooner);
    if (refused) cancel_later_dump();
    return refused;
}

inline void cancel_later_dump() noexcept {
    table* const in = in_signal::the_table.load_acquire();
    if (in == nullptr) return;
    later_order* before = nullptr;
    bool sooner = false;
    if (detail::exchange_later(*in, nullptr, before, sooner)) return;
    if (before != nullptr) before->release();
    if (in->services[in_signal::helper].thread.load() != in_signal::thread_pointer()) detail::await_later_dump(*in);
}

}  // namespace tocsin::posix
