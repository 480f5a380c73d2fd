// SPDX-License-Identifier: MIT
// A table of watchdogs: a cache line each, and one row of a guard for all of them.
//
// Runs on the watcher thread (looking) and on the helper thread (the row); members are added and removed on any
// ordinary thread. A look goes through the lines in order, and writes only to those that have been fed since the look
// before. It measures on a clock of the table's own, which stands still while a look is under way and while the
// process does not run, so that nobody fires before its period is over.
//
// Members are put into blocks with others of about the same period, and a block is looked at four times in the shortest
// of its periods: a seldom member is not looked at each time that a frequent one is.
#pragma once

#include <errno.h>

#include <new>

#include <tocsin/libc_functions.hpp>
#include <tocsin/posix/registry.hpp>
#include <tocsin/posix/watch_list.hpp>

namespace tocsin::posix {

// One member. All but `fed` and `rests` belongs to the table's lock.
struct alignas(64) watch_slot {
    in_signal::atomic<std::uint32_t> fed;
    in_signal::atomic<std::uint32_t> rests;
    std::uint64_t fires_at = never;
    std::uint64_t period = never;  // of nobody: never
    void* tag = nullptr;
    std::uint64_t of_block = 0;  // see watch_block
    char name[24] = {};
};
static_assert(sizeof(watch_slot) == 64);

// What `fires_at` says of a member that has fired: the row is to be run, or has been. It says `never` of nobody, and of
// who is not watched yet.
inline constexpr std::uint64_t has_fired = never - 1;
inline constexpr std::uint64_t hangs = never - 2;

// Up to 64 members. What is known of them together lies in the spare words of the first four; the next is the table's.
class watch_block {
  public:
    static constexpr unsigned room = 64;
    static constexpr unsigned words = 4;

    watch_block(watch_slot* slots, unsigned count) noexcept : slots_{slots}, count_{count} {}

    std::uint64_t& due() const noexcept { return slots_[0].of_block; }
    std::uint64_t& used() const noexcept { return slots_[1].of_block; }  // one bit a slot
    std::uint64_t& level() const noexcept { return slots_[2].of_block; }
    std::uint64_t& pace() const noexcept { return slots_[3].of_block; }  // of the most frequent
    bool is_full() const noexcept { return (~used() & all()) == 0; }
    watch_slot* begin() const noexcept { return slots_; }
    watch_slot* end() const noexcept { return slots_ + count_; }

    watch_slot& take_slot() const noexcept {
        int const place = __builtin_ctzll(~used());
        used() |= std::uint64_t{1} << place;
        return slots_[place];
    }
    void give_back(watch_slot const& slot) const noexcept {
        used() &= ~(std::uint64_t{1} << static_cast<unsigned>(&slot - slots_));
    }

  private:
    std::uint64_t all() const noexcept { return count_ == room ? ~std::uint64_t{0} : (std::uint64_t{1} << count_) - 1; }

    watch_slot* slots_;
    unsigned count_;
};

class watch_table : public watch_part {
  public:
    static constexpr std::size_t most = std::size_t{1} << 24;

    // Null in `made` where it is refused. The caller holds one reference.
    static failure make(std::size_t room, watch_table*& made) noexcept {
        if (room == 0 || room > most) return {EINVAL, "watchdogs", 0};
        table* in = nullptr;
        if (failure const refused = find_table(in)) return refused;
        std::size_t const slots = room <= watch_block::words ? watch_block::words + 1 : room;
        std::size_t const last = slots % watch_block::room;
        std::size_t const padding = last != 0 && last < watch_block::words ? watch_block::words - last : 0;
        void* memory = nullptr;
        if (libc::posix_memalign(&memory, alignof(watch_slot), (slots + padding) * sizeof(watch_slot)) != 0)
            return {ENOMEM, "posix_memalign", 0};
        made = ::new (std::nothrow) watch_table{*in, static_cast<watch_slot*>(memory), slots + padding, room};
        if (made == nullptr) libc::free(memory);
        return made != nullptr ? failure{} : failure{ENOMEM, "operator new", 0};
    }

    void keep() noexcept { references_.fetch_add(1); }
    void release() noexcept {
        if (references_.fetch_sub(1) != 1) return;
        libc::free(slots_);
        delete this;
    }

    // Where the row is; a table has one row at a time.
    failure attach(watch_list& to, void* program, void (*row)(void*, in_signal::arrival&)) noexcept {
        {
            table_lock const locked{*in_};
            if (attached_) return {EBUSY, "watchdogs", 0};
            attached_ = true;
        }
        program_ = program;
        row_ = row;
        keep();
        to.add(*this);
        return {};
    }

    // Null where there is no room. The name is cut off behind 23 characters.
    watch_slot* add(char const* name, std::uint64_t period, void* tag) noexcept {
        table_lock const locked{*in_};
        if (members_ == room_) return nullptr;
        if (period < shortest_watch) period = shortest_watch;
        watch_slot& added = find_block(detail::level_of_pace(period)).take_slot();
        ++members_;
        keep();
        std::size_t size = 0;
        for (; name != nullptr && name[size] != '\0' && size + 1 < sizeof added.name; ++size)
            added.name[size] = name[size];
        added.name[size] = '\0';
        added.tag = tag;
        added.period = period;
        if (looks_here()) watch_from_now(added);
        return &added;
    }

    void remove(watch_slot& removed) noexcept {
        {
            table_lock const locked{*in_};
            if (removed.fires_at == has_fired || removed.fires_at == hangs) --hung_members_;
            if (removed.fires_at == has_fired) --fired_;
            removed.period = removed.fires_at = never;
            removed.fed.store(0);
            removed.rests.store(0);
            std::uint32_t const number = number_of(removed) / watch_block::room;
            watch_block const of = block(number);
            of.give_back(removed);
            open_[of.level()] = number;
            if (looks_) find_pace(of);
            --members_;
        }
        release();
    }

    std::size_t size() const noexcept {
        table_lock const locked{*in_};
        return members_;
    }
    std::size_t room() const noexcept { return room_; }
    std::uint32_t number_of(watch_slot const& of) const noexcept { return static_cast<std::uint32_t>(&of - slots_); }
    static watch_table& of(watch_slot const* slots) noexcept {
        return *reinterpret_cast<watch_table*>(slots[watch_block::words].of_block);
    }

  private:
    watch_table(table& in, watch_slot* slots, std::size_t count, std::size_t room) noexcept
        : in_{&in}, slots_{slots}, count_{count}, room_{room} {
        for (std::size_t i = 0; i < count; ++i) ::new (static_cast<void*>(slots + i)) watch_slot{};
        for (std::size_t i = 0; i < blocks(); ++i) block(i).due() = never;
        slots[watch_block::words].of_block = reinterpret_cast<std::uintptr_t>(this);
        tick = [](watched& self, look& at) noexcept { static_cast<watch_table&>(self).look_at_all(at); };
        watch_part::arm = [](watch_part& self, std::uint64_t now) noexcept {
            static_cast<watch_table&>(self).arm_all(now);
        };
        watch_part::link = [](watch_part& self, watch_room& to) noexcept {
            detail::link_watched(to, self, static_cast<watch_table&>(self).pace_);
        };
        watch_part::unlink = [](watch_part& self, watch_room& from) noexcept {
            static_cast<watch_table&>(self).stop(from);
        };
        watch_part::run_fired = [](watch_part& self, watch_list& of) noexcept {
            return static_cast<watch_table&>(self).run_all_fired(of);
        };
        watch_part::detach = [](watch_part& self) noexcept { static_cast<watch_table&>(self).leave(); };
    }

    static std::uint64_t pace_of(std::uint64_t period) noexcept {
        return period / looks_a_period + (period % looks_a_period != 0 ? 1 : 0);
    }
    std::size_t blocks() const noexcept { return (count_ + watch_block::room - 1) / watch_block::room; }
    watch_block block(std::size_t number) const noexcept {
        std::size_t const first = number * watch_block::room;
        std::size_t const left = count_ - first;
        return {slots_ + first, static_cast<unsigned>(left < watch_block::room ? left : watch_block::room)};
    }
    bool looks_here() const noexcept { return looks_ && process_ == in_signal::getpid(); }

    // One with room for a period of this length; at worst among others. There is one.
    watch_block find_block(std::uint64_t wanted) noexcept {
        std::size_t const none = blocks();
        std::size_t empty = none;
        std::size_t other = none;
        std::size_t same = none;
        for (std::size_t i = 0; i < blocks() && same == none; ++i) {
            std::size_t const number = open_[wanted] + i < blocks() ? open_[wanted] + i : open_[wanted] + i - blocks();
            watch_block const at = block(number);
            if (at.is_full()) continue;
            if (at.used() == 0)
                empty = empty == none ? number : empty;
            else if (at.level() == wanted)
                same = number;
            else
                other = number;
        }
        std::size_t const best = same != none ? same : empty != none ? empty : other;
        watch_block const found = block(best);
        if (best == empty) found.level() = wanted;
        if (found.level() == wanted) open_[wanted] = static_cast<std::uint32_t>(best);
        return found;
    }

    // --- The table's clock ---

    void watch_from_now(watch_slot& added) noexcept {
        std::uint64_t const now = in_signal::monotonic();
        added.fires_at = clock_ + (now > ended_ ? counted(now - ended_) : 0) + added.period;
        std::uint64_t const pace = pace_of(added.period);
        watch_block const of = block(static_cast<std::size_t>(&added - slots_) / watch_block::room);
        if (pace < of.pace()) of.pace() = pace;
        if (now + pace < of.due()) of.due() = now + pace;
        watch_room& room = room_of(*in_);
        if (pace < pace_) {
            pace_ = pace;
            detail::unlink_watched(room, *this);
            detail::link_watched(room, *this, pace_);
        }
        if (now + pace >= due) return;
        due = now + pace;
        planned_ = due - ended_;
        bool const sooner = due < room.levels[level].due;
        detail::look_sooner(room, *this, due);
        if (sooner) wake_service(in_->services[in_signal::watcher]);
    }

    void arm_all(std::uint64_t now) noexcept {
        process_ = in_signal::getpid();
        looks_ = true;
        hung = false;
        hung_members_ = fired_ = 0;
        ended_ = now;
        due = never;
        for (std::size_t i = 0; i < blocks(); ++i) {
            watch_block const of = block(i);
            for (watch_slot& each : of) {
                each.fed.store_relaxed(0);
                if (each.period != never) each.fires_at = clock_ + each.period;
            }
            of.due() = now;
            find_pace(of);
            if (of.due() != never) of.due() = now + of.pace();
            if (of.pace() < pace_) pace_ = of.pace();
            if (of.due() < due) due = of.due();
        }
        planned_ = due - now;
    }

    // An empty block has none, and is not looked at.
    static void find_pace(watch_block const& of) noexcept {
        std::uint64_t least = never;
        for (watch_slot const& each : of)
            if (each.period < least) least = each.period;
        of.pace() = least != never ? pace_of(least) : never;
        if (least == never) of.due() = never;
    }

    // As a guard's own watchdogs count, see watch_list.hpp.
    std::uint64_t counted(std::uint64_t passed) const noexcept {
        constexpr std::uint64_t stopped = 1'000'000'000;
        std::uint64_t const tolerated = hung ? stopped : pace_ / 2;
        return passed < planned_ || passed - planned_ < tolerated ? passed : planned_;
    }

    void look_at_all(look& at) noexcept {
        due = never;
        if (process_ != at.process) {
            hung = false;
            return;
        }
        clock_ += at.now > ended_ ? counted(at.now - ended_) : 0;
        unsigned const fired_before = fired_;
        for (std::size_t i = 0; i < blocks(); ++i) {
            watch_block const each = block(i);
            // Half a pace early, so that blocks of about one pace fall into step and do not wake the watcher each.
            if (each.due() != never && each.due() <= at.now + each.pace() / 2) look_at_block(each, at);
            if (each.due() < due) due = each.due();
        }
        hung = hung_members_ != 0;
        if (fired_ > fired_before) detail::post_alarm(room_of(*in_), *alarm, at.process);
        ended_ = in_signal::monotonic();
        planned_ = due > ended_ ? due - ended_ : 0;
    }

    void look_at_block(watch_block const& of, look& at) noexcept {
        std::uint64_t const clock = clock_;
        std::uint64_t nearest = never;  // of those that have not been fed: the others have a whole period
        for (watch_slot& each : of) {
            if ((each.fed.load_relaxed() | each.rests.load_relaxed()) != 0) {
                if (each.fires_at >= hangs && !revive(each)) continue;
                each.fed.store_relaxed(0);  // a feed that this overwrites came before the clock goes on
                each.fires_at = clock + each.period;
            } else {
                if (each.fires_at <= clock) [[unlikely]]
                    fire(each, at);
                if (each.fires_at < nearest) nearest = each.fires_at;
            }
        }
        of.due() = at.now + (nearest - clock < of.pace() ? nearest - clock : of.pace());
    }

    // False if its row has still to be run, or nobody is there any more.
    bool revive(watch_slot const& fed) noexcept {
        if (fed.fires_at != hangs) return false;
        --hung_members_;
        return true;
    }

    void fire(watch_slot& silent, look& at) noexcept {
        if (at.traced()) {
            silent.fires_at = clock_ + pace_of(silent.period);
            return;
        }
        silent.fires_at = has_fired;
        ++hung_members_;
        ++fired_;
    }

    // --- The row ---

    // On the helper. The row is run without the lock; its guard may end meanwhile, and this table with it.
    bool run_all_fired(watch_list& of) noexcept {
        keep();
        bool goes_on = !of.closed();
        watch_slot copy;
        for (std::size_t at = 0; goes_on && take_fired(at, copy);) {
            in_signal::hang_note note{copy.period, copy.name[0] != '\0' ? copy.name : nullptr};
            of.run({program_, row_}, note, copy.tag);
            goes_on = !of.closed();
        }
        release();
        return goes_on;
    }

    // The next that has fired, from `at` on.
    bool take_fired(std::size_t& at, watch_slot& copy) noexcept {
        table_lock const locked{*in_};
        for (; fired_ != 0 && at < count_; ++at) {
            watch_slot& each = slots_[at];
            if (each.fires_at != has_fired) continue;
            each.fires_at = hangs;
            --fired_;
            copy.period = each.period;
            copy.tag = each.tag;
            for (std::size_t i = 0; i < sizeof copy.name; ++i) copy.name[i] = each.name[i];
            return true;
        }
        return false;
    }

    // Under the table's lock.
    void stop(watch_room& room) noexcept {
        detail::unlink_watched(room, *this);
        looks_ = false;
        hung_members_ = fired_ = 0;
        pace_ = never;
        for (std::size_t i = 0; i < count_; ++i) slots_[i].fires_at = never;
    }

    void leave() noexcept {
        {
            table_lock const locked{*in_};
            attached_ = false;
        }
        release();
    }

    table* in_;
    watch_slot* slots_;
    std::size_t count_;
    std::size_t room_;
    std::size_t members_ = 0;
    in_signal::atomic<std::uint32_t> references_{1};
    bool attached_ = false;  // to a guard
    bool looks_ = false;
    std::int32_t process_ = 0;
    unsigned hung_members_ = 0;
    unsigned fired_ = 0;  // whose row has still to be run
    std::uint64_t clock_ = 0;
    std::uint64_t ended_ = 0;     // when the last look did
    std::uint64_t planned_ = 0;   // from then on to the next
    std::uint64_t pace_ = never;  // of the most frequent member that there was
    void* program_ = nullptr;
    void (*row_)(void* program, in_signal::arrival&) = nullptr;
    std::uint32_t open_[64] = {};  // for each length of period, the block where there was room last
};

}  // namespace tocsin::posix
