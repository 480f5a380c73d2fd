// SPDX-License-Identifier: MIT
// The deadlines of all threads: where they stand, and what happens when one passes.
//
// Runs on any ordinary thread (arming), on the watcher thread (looking) and on the helper thread (the report). Each
// thread has a board with a place for each deadline that it is inside of; a place is written by its owner and read by
// the watcher without a lock, and boards are never freed, only handed on to another thread. Arming is a store, and
// wakes the watcher only if that sleeps for longer than the deadline allows. The fence between that store and the look
// at the watcher's sleep is laid by the watcher (membarrier(2)), or by the thread where the kernel refuses that.
//
// The watcher looks four times in a period. What passes while the process does not run (stopped, starved: the watcher
// itself is late by more than `unusually_late`) or is traced does not count, but for a quarter of the period; who did
// not run for longer than such a quarter is given the whole period anew.
#pragma once

#include <pthread.h>

#include <new>

#include <tocsin/libc_functions.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/posix/registry.hpp>
#include <tocsin/posix/reporter.hpp>
#include <tocsin/posix/watcher.hpp>

namespace tocsin::posix {

inline constexpr std::uint64_t unusually_late = 20'000'000;
inline constexpr std::uint64_t looks_a_deadline = 4;
inline constexpr std::uint64_t longest_hold = 1'000'000'000;  // of a scope's end by the report about it

// Where the report of a deadline goes, and what it shows.
struct late_words {
    char const* name = nullptr;
    char const* path = nullptr;
    std::uint64_t fd_and_extent = 2 << 1;
    in_signal::report_writer writer = nullptr;

    // One word, which stands in a register on its way.
    static constexpr std::uint64_t join(int fd, bool this_thread_only) noexcept {
        return std::uint64_t{static_cast<std::uint32_t>(fd)} << 1 | (this_thread_only ? 1U : 0U);
    }
    int fd() const noexcept { return static_cast<int>(fd_and_extent >> 1); }
    bool this_thread_only() const noexcept { return (fd_and_extent & 1) != 0; }
};

struct deadline_board;

// One deadline. The watcher believes the rest while `due` has not changed.
struct alignas(64) deadline_slot {
    static constexpr std::uint64_t passed = std::uint64_t{1} << 63;

    in_signal::atomic<std::uint64_t> due;  // 0 if free; with `passed` once it has been given to the helper
    in_signal::atomic<std::uint64_t> period;
    in_signal::atomic<char const*> name;
    in_signal::atomic<char const*> path;
    in_signal::atomic<std::uint64_t> fd_and_extent;
    in_signal::atomic<in_signal::report_writer> writer;
    deadline_board* board = nullptr;  // that it belongs to for ever

    // By the owner, while the slot is free. The fence lets nobody see the new words with the old time.
    void describe(std::uint64_t length, late_words const& words) noexcept {
        __atomic_thread_fence(__ATOMIC_RELEASE);
        period.store_relaxed(length);
        name.store_relaxed(words.name);
        path.store_relaxed(words.path);
        fd_and_extent.store_relaxed(words.fd_and_extent);
        writer.store_relaxed(words.writer);
    }
    late_words words() const noexcept {
        return {name.load_relaxed(), path.load_relaxed(), fd_and_extent.load_relaxed(), writer.load_relaxed()};
    }
};

struct deadline_slots {
    deadline_slot slots[4];
    in_signal::atomic<deadline_slots*> more;

    explicit deadline_slots(deadline_board& of) noexcept {
        for (deadline_slot& slot : slots) slot.board = &of;
    }

    template <class Visit>
    void each(Visit visit) noexcept {
        for (deadline_slots* some = this; some != nullptr; some = some->more.load())
            for (deadline_slot& slot : some->slots) visit(slot);
    }
};

// What the report of a passed deadline says.
struct late_note {
    std::uint64_t due = 0;  // as it stands in the slot
    std::uint64_t period = 0;
    late_words words;
    char name[64] = {};
    in_signal::atomic<deadline_slot*> slot;
};

struct deadline_board : deadline_slots {
    deadline_board* next = nullptr;
    watch_room* room;
    in_signal::atomic<std::int32_t> const* live_process;  // see table
    in_signal::atomic<std::uint32_t> owned{1};
    in_signal::atomic<std::int32_t> process;
    in_signal::atomic<std::int32_t> thread;
    in_signal::atomic<std::uint32_t> reporting;  // 1 while `late` is the watcher's or the helper's
    late_note late;

    struct alarm_part : alarm_source {
        deadline_board* board = nullptr;
    } alarm;

    explicit deadline_board(watch_room& of) noexcept
        : deadline_slots{*this}, room{&of}, live_process{of.in->live_process} {}

    // False in a forked child, until it has a board of its own. Asks no kernel.
    bool at_home() const noexcept { return process.load_relaxed() == live_process->load_relaxed(); }
};

namespace detail {

[[gnu::visibility("hidden")]] inline constinit thread_local deadline_board* own_board = nullptr;

// A number of nanoseconds, in milliseconds if it is one.
inline in_signal::line& append_length(in_signal::line& to, std::uint64_t nanoseconds) noexcept {
    if (nanoseconds % 1'000'000 == 0 || nanoseconds > 10'000'000'000)
        return to.decimal(nanoseconds / 1'000'000).text(" ms");
    return to.decimal(nanoseconds / 1'000).text(" us");
}

inline void write_late_report(deadline_board& board) noexcept {
    late_note const& late = board.late;
    table& in = *board.room->in;
    report_desk* const desk = in_signal::desk_of(in);
    if (desk == nullptr || board.process.load() != in_signal::getpid()) return;
    in_signal::report_turn const turn{*desk};
    if (!turn.taken()) return in_signal::say(late.words.fd(), "tocsin: another report does not end\n");
    if (turn.inherited()) in_signal::forget_report(*desk);
    in_signal::fixed_line<256> title;
    title.text("tocsin: deadline ");
    if (late.words.name != nullptr) title.quoted(late.name).text(" of ");
    std::uint64_t const since = (late.due & ~deadline_slot::passed) - late.period;
    append_length(title, late.period).text(" has passed, thread ").decimal(board.thread.load());
    bool const left = late.slot.load()->due.load() != late.due;
    title.text(left ? ", which has left it, entered it " : " entered it ");
    title.decimal((in_signal::monotonic() - since) / 1'000'000).text(" ms ago, process ").decimal(in_signal::getpid());
    title.character('\0');
    in_signal::report_order order;
    order.why = in_signal::occasion::hang;
    order.title = title.data();
    order.this_thread_only = late.words.this_thread_only();
    order.thread = board.thread.load();
    in_signal::report_target target;
    bool const to_file = late.words.path != nullptr && !open_directory(late.words.path, target);
    int const opened = to_file ? in_signal::open_report(target) : -1;
    in_signal::write_in_steps(in, *desk, order, opened >= 0 ? opened : late.words.fd(), late.words.writer);
    if (opened >= 0) in_signal::close(opened);
    if (to_file) ::close(target.directory.fd);
}

inline void finish_late(deadline_board& board) noexcept {
    board.reporting.store(0);
    in_signal::futex_wake(board.reporting.address(), 1 << 30);
}

// Carefully: the scope may just be ending, and the text with it.
inline void copy_name(late_note& late) noexcept {
    in_signal::careful_reader memory;
    auto const from = reinterpret_cast<std::uintptr_t>(late.words.name);
    std::size_t size = 0;
    while (from != 0 && size + 1 < sizeof late.name && memory.read(from + size, late.name[size]) &&
           late.name[size] != '\0')
        ++size;
    late.name[size] = '\0';
}

// The owner of the slot waits from the moment at which it finds it passed, so that its name can still be read.
inline bool give_to_helper(deadline_board& board, deadline_slot& slot, std::uint64_t due, look& at) noexcept {
    if (!board.reporting.replace(0, 1)) return false;
    late_note& late = board.late;
    late.slot.store(&slot);
    late.period = slot.period.load_relaxed();
    late.words = slot.words();
    late.due = due | deadline_slot::passed;
    if (!slot.due.replace(due, late.due)) {
        finish_late(board);
        return false;
    }
    copy_name(late);
    table_lock const locked{*board.room->in};
    post_alarm(*board.room, board.alarm, at.process);
    return true;
}

// When to look at this one again.
inline std::uint64_t look_at_deadline(deadline_board& board, deadline_slot& slot, look& at) noexcept {
    std::uint64_t due = slot.due.load();
    if (due == 0 || (due & deadline_slot::passed) != 0) return never;
    std::uint64_t const period = slot.period.load_relaxed();
    bool const was_armed = due - period < at.now - at.late;
    if (at.late > unusually_late && was_armed) {
        std::uint64_t const later = at.late > period / looks_a_deadline ? at.now + period : due + at.late;
        if (slot.due.replace(due, later)) due = later;
    }
    std::uint64_t const soon = at.now + period / looks_a_deadline + 1'000'000;
    if (due > at.now) return due < soon ? due : soon;
    if (at.traced()) {
        slot.due.replace(due, soon);
        return soon;
    }
    constexpr std::uint64_t until_report_is_written = 10'000'000;
    return give_to_helper(board, slot, due, at) ? never : at.now + until_report_is_written;
}

inline std::uint64_t look_at_boards(watch_room& room, look& at) noexcept {
    // Scopes that come and go between two looks are not to wake the watcher each.
    std::uint64_t nearest = room.asked.load();
    if (nearest <= at.now) {
        room.asked.replace(nearest, never);
        nearest = never;
    }
    auto* board = static_cast<deadline_board*>(__atomic_load_n(&room.deadlines, __ATOMIC_SEQ_CST));
    for (; board != nullptr; board = board->next) {
        if (board->process.load() != at.process) continue;
        board->each([&](deadline_slot& slot) {
            std::uint64_t const due = look_at_deadline(*board, slot, at);
            if (due < nearest) nearest = due;
        });
    }
    return nearest;
}

inline deadline_board* find_free_board(watch_room& room) noexcept {
    auto* board = static_cast<deadline_board*>(__atomic_load_n(&room.deadlines, __ATOMIC_SEQ_CST));
    for (; board != nullptr; board = board->next)
        if (board->reporting.load() == 0 && board->owned.replace(0, 1)) return board;
    return nullptr;
}

inline deadline_board* make_board(watch_room& room) noexcept {
    void* memory = nullptr;
    if (libc::posix_memalign(&memory, alignof(deadline_board), sizeof(deadline_board)) != 0) return nullptr;
    auto* const made = ::new (memory) deadline_board{room};
    made->alarm.board = made;
    made->alarm.first = [](source& self) noexcept {
        deadline_board& board = *static_cast<deadline_board::alarm_part&>(self).board;
        write_late_report(board);
        finish_late(board);
    };
    void* expected = __atomic_load_n(&room.deadlines, __ATOMIC_SEQ_CST);
    do {
        made->next = static_cast<deadline_board*>(expected);
    } while (!__atomic_compare_exchange_n(&room.deadlines, &expected, static_cast<void*>(made), false,
                                          __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    return made;
}

// The board goes back when its thread ends.
[[gnu::visibility("hidden")]] inline failure keep_board(deadline_board* board) noexcept {
    static pthread_key_t key;
    static int const no_key = ::pthread_key_create(&key, [](void* kept) {
        own_board = nullptr;
        static_cast<deadline_board*>(kept)->owned.store(0);
    });
    int const refused = no_key != 0 ? no_key : ::pthread_setspecific(key, board);
    return refused != 0 ? failure{refused, "pthread_setspecific", 0} : failure{};
}

// A board for this thread in this process. In a forked child the one that it has begins anew.
[[gnu::noinline]] inline failure open_board() noexcept {
    table* in = nullptr;
    if (failure const refused = find_table(in)) return refused;
    adopt_process(*in);
    if (failure const refused = provide_captures(*in)) return refused;
    watch_room* room = nullptr;
    {
        table_lock const locked{*in};
        room = find_room(*in);
    }
    if (room == nullptr) return {ENOMEM, "malloc", 0};
    room->look_at_deadlines.store(&look_at_boards);
    deadline_board* board = own_board;
    if (board == nullptr) board = find_free_board(*room);
    if (board == nullptr) board = make_board(*room);
    if (board == nullptr) return {ENOMEM, "posix_memalign", 0};
    board->each([](deadline_slot& slot) { slot.due.store(0); });
    board->reporting.store(0);
    board->thread.store(in_signal::gettid());
    board->process.store(in_signal::getpid());
    own_board = board;
    failure const refused = keep_board(board);
    return refused ? refused : start_watcher(*in);
}

// A place for one more deadline; null where no memory is left.
[[gnu::noinline]] inline deadline_slot* find_free_slot(deadline_board& board) noexcept {
    deadline_slots* last = nullptr;
    for (deadline_slots* some = &board; some != nullptr; some = some->more.load_relaxed()) {
        for (deadline_slot& slot : some->slots)
            if (slot.due.load_relaxed() == 0) return &slot;
        last = some;
    }
    void* memory = nullptr;
    if (libc::posix_memalign(&memory, alignof(deadline_slots), sizeof(deadline_slots)) != 0) return nullptr;
    auto* const added = ::new (memory) deadline_slots{board};
    last->more.store(added);
    return &added->slots[0];
}

// The watcher sleeps for longer than the deadline allows. Asking makes it look at once, and from then on four times a
// period. Before its very first look it has to know from when on it is late, or a process that was stopped meanwhile
// would be taken for a late one.
[[gnu::noinline]] inline void ask_watcher(watch_room& room, std::uint64_t begin, std::uint64_t period) noexcept {
    bool const has_looked = room.asleep_until.load() != never_looked;
    std::uint64_t const first = begin + (has_looked ? period : period / looks_a_deadline);
    for (std::uint64_t found = room.asked.load(); first < found;)
        if (room.asked.compare_exchange(found, first)) break;
    wake_service(room.in->services[in_signal::watcher]);
}

// Where no place is at hand. Throws, or prints and aborts, if there is none to be had.
[[gnu::noinline]] inline deadline_slot& make_place() {
    deadline_board* board = own_board;
    if (board == nullptr || !board->at_home()) {
        if (failure const refused = open_board()) fail(refused);
        board = own_board;
    }
    deadline_slot* const slot = find_free_slot(*board);
    if (slot == nullptr) fail({ENOMEM, "posix_memalign", 0});
    return *slot;
}

inline deadline_slot& begin_in(deadline_slot& slot, std::uint64_t period, late_words const& words) noexcept {
    slot.describe(period, words);
    std::uint64_t const begin = time_by_libc();
    slot.due.store_release(begin + period);
    watch_room& room = *slot.board->room;
    if (end_of_sleep(room) > begin + period) [[unlikely]] ask_watcher(room, begin, period);
    return slot;
}

// The first deadline of a thread, and those inside of another.
[[gnu::noinline]] inline deadline_slot& enter_elsewhere(std::uint64_t period, char const* name, char const* path,
                                                         std::uint64_t fd_and_extent,
                                                         in_signal::report_writer writer) {
    return begin_in(make_place(), period, {name, path, fd_and_extent, writer});
}

// What it is told and what it answers stand in registers, and few of them have to outlast the reading of the clock.
[[gnu::noinline]] inline deadline_slot& enter_scope(std::uint64_t period, char const* name, char const* path,
                                                     std::uint64_t fd_and_extent, in_signal::report_writer writer) {
    deadline_board* const board = own_board;
    if (board == nullptr || !board->at_home() || board->slots[0].due.load_relaxed() != 0) [[unlikely]]
        return enter_elsewhere(period, name, path, fd_and_extent, writer);
    return begin_in(board->slots[0], period, {name, path, fd_and_extent, writer});
}

// So that the report shows the thread inside the scope; but not for ever.
[[gnu::noinline]] inline void await_late_report(deadline_slot const& slot) noexcept {
    if ((slot.due.load() & deadline_slot::passed) == 0) return;
    deadline_board& board = *slot.board;
    std::uint64_t const end = in_signal::monotonic() + longest_hold;
    while (board.at_home() && board.reporting.load() != 0 && board.late.slot.load() == &slot) {
        std::uint64_t const now = in_signal::monotonic();
        if (now >= end) return;
        in_signal::futex_wait(board.reporting.address(), 1, end - now);
    }
}

}  // namespace detail

// One deadline of the calling thread, for as long as this lives; its end may come on any thread. Throws, or prints and
// aborts, where no memory or no thread can be had.
class armed_deadline {
  public:
    armed_deadline(std::uint64_t period, late_words const& words)
        : slot_{detail::enter_scope(period, words.name, words.path, words.fd_and_extent, words.writer)} {}
    // Not an exchange: what the watcher finds between the look and the store is reported as left meanwhile. The look is
    // not at the slot, whose time has only just been written.
    ~armed_deadline() {
        if (slot_.board->reporting.load_relaxed() != 0) [[unlikely]] detail::await_late_report(slot_);
        slot_.due.store_release(0);
    }
    armed_deadline(armed_deadline const&) = delete;
    armed_deadline& operator=(armed_deadline const&) = delete;

  private:
    deadline_slot& slot_;
};

}  // namespace tocsin::posix
