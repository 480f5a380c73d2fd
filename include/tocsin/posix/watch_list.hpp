// SPDX-License-Identifier: MIT
// The watchdogs of a guard.
//
// Runs on the watcher thread (looking) and on the helper thread (reactions); a guard opens and closes its watchdogs on
// any ordinary thread. Watchdogs that are fed together are looked at together, four times in the shortest of their
// periods, and share one measure of how long nobody has fed them. What a look adds to it is the time since the look
// before, but never more than a quarter of that period: a process that did not run (stopped, suspended, starved) has
// missed one look at most when it goes on. So a watchdog fires between one period and one and a quarter after the last
// feed. Feeding is a store, and costs nobody a wake-up; that is why a watchdog that has fired is still looked at as
// often: nobody says when it is fed again, and its next hang is to be seen as soon as its first. Only a guard that
// rests is not looked at.
#pragma once

#include <tocsin/in_signal/hang_note.hpp>
#include <tocsin/posix/watcher.hpp>

namespace tocsin::posix {

inline constexpr unsigned looks_a_period = 4;

// Shorter periods are watched as this one: what the kernel's timers and the scheduler add is not a hang.
inline constexpr std::uint64_t shortest_watch = 1'000'000;

// One watchdog, or one stage of it: a row to run once nobody has fed it for `at`. All but `fired`, `reached` and
// `unanswered` belong to the table's lock.
struct watch {
    watch* next = nullptr;
    std::uint64_t at = 0;
    std::uint64_t every = 0;  // and again each time this has passed; 0 for once a hang
    std::uint64_t next_at = never;
    std::uint64_t reached = 0;                    // of the hang that it fired for
    in_signal::atomic<std::uint32_t> fired;       // the helper has to run its row
    in_signal::atomic<std::uint32_t> unanswered;  // hangs that the row's deferred reactions have not run for
    void* program = nullptr;
    void (*run)(void* program, in_signal::arrival&) = nullptr;

    constexpr watch() noexcept = default;
    // A row is copied and moved before it is installed; nothing has happened to it by then.
    constexpr watch(watch const&) noexcept {}
    watch& operator=(watch const&) = delete;

    void fire(std::uint64_t unfed) noexcept {
        reached = next_at;
        next_at = every == 0 ? never : next_at + every;
        if (next_at <= unfed) next_at = unfed + every;
        fired.store(1);
    }
};

// Watchdogs that are fed by one word.
class watch_group : watched {
  public:
    watch_group* next_group = nullptr;
    in_signal::atomic<std::uint32_t>* fed = nullptr;
    in_signal::atomic<std::uint32_t>* resting = nullptr;  // null if it never rests; see `rest`
    alarm_source* alarm = nullptr;
    table* in = nullptr;
    char const* name = nullptr;

    void add(watch& added) noexcept {
        if (added.at < least_) least_ = added.at;
        pace_ = least_ / looks_a_period + (least_ % looks_a_period != 0 ? 1 : 0);
        watch** last = &first_;
        while (*last != nullptr) last = &(*last)->next;
        *last = &added;
    }
    watch* first() const noexcept { return first_; }

    // In this process, from `now` on.
    void arm(std::uint64_t now) noexcept {
        process_ = in_signal::getpid();
        for (watch* each = first_; each != nullptr; each = each->next) {
            each->fired.store(0);
            each->unanswered.store(0);
        }
        fed->store(0);
        start_anew();
        last_look_ = now;
        due = now + pace_;
    }

    void link_to(watch_room& room) noexcept {
        tick = [](watched& self, look& at) noexcept { static_cast<watch_group&>(self).look_at_it(at); };
        detail::link_watched(room, *this, pace_);
    }
    void unlink_from(watch_room& room) noexcept { detail::unlink_watched(room, *this); }
    void be_due(watch_room& room) noexcept { detail::look_sooner(room, *this, due); }

    // One look, under the table's lock. A child that was forked is disarmed until it says otherwise.
    void look_at_it(look& at) noexcept {
        due = never;
        if (process_ != at.process) {
            hung = false;
            return;
        }
        std::uint64_t const passed = at.now - last_look_;
        last_look_ = at.now;
        due = at.now + pace_;
        if (falls_asleep()) due = never;
        if (rests() || (fed->load_relaxed() != 0 && fed->exchange(0) != 0)) return start_anew();
        if (next_at_ == never || at.traced()) return;
        unfed_ += counted(passed);
        if (unfed_ >= next_at_) fire(at.process);
        if (next_at_ - unfed_ < pace_) due = at.now + (next_at_ - unfed_);
    }

    bool rests() const noexcept { return resting != nullptr && resting->load() > 1; }

    // The last rest has ended, and the watcher had stopped looking. Under the table's lock.
    void wake_up(watch_room& room) noexcept {
        if (process_ != in_signal::getpid() || !resting->replace(1, 0)) return;
        start_anew();
        last_look_ = in_signal::monotonic();
        detail::look_sooner(room, *this, last_look_ + pace_);
    }

    std::uint64_t next_look() const noexcept { return due; }

  private:
    // What passed between two looks counts, but for the time in which nobody could feed because the process did not
    // run: then the look is late, and only the part until it was due counts. A look is always a little late; that
    // little must count, or repeats would drift.
    std::uint64_t counted(std::uint64_t passed) const noexcept {
        constexpr std::uint64_t stopped = 1'000'000'000;
        std::uint64_t const tolerated = hung ? stopped : pace_ / 2;
        return passed < pace_ + tolerated ? passed : pace_;
    }

    // Twice the number of rests, and 1 if the watcher is not going to look until the last of them has ended.
    bool falls_asleep() noexcept {
        if (!rests()) return false;
        std::uint32_t const found = resting->load();
        return found > 1 && ((found & 1) != 0 || resting->replace(found, found | 1));
    }

    void start_anew() noexcept {
        hung = false;
        unfed_ = 0;
        if (next_at_ == least_) return;
        for (watch* each = first_; each != nullptr; each = each->next) each->next_at = each->at;
        next_at_ = least_;
    }

    void fire(std::int32_t process) noexcept {
        hung = true;
        next_at_ = never;
        for (watch* each = first_; each != nullptr; each = each->next) {
            if (each->next_at <= unfed_) each->fire(unfed_);
            if (each->next_at < next_at_) next_at_ = each->next_at;
        }
        if (alarm != nullptr && in->services[in_signal::watcher].sources != nullptr)
            detail::post_alarm(room_of(*in), *alarm, process);
    }

    watch* first_ = nullptr;
    std::uint64_t least_ = never;  // of the periods
    std::uint64_t pace_ = 0;
    std::uint64_t next_at_ = never;  // of the times without a feed at which something fires
    std::uint64_t unfed_ = 0;
    std::uint64_t last_look_ = 0;
    std::int32_t process_ = 0;  // where they are armed
};

class watch_list;

// The row that runs for whoever was silent.
struct fired_row {
    void* program;
    void (*run)(void* program, in_signal::arrival&);
};

// Watchdogs that have a row of this guard and are not fed by its words: a table of them, see watch_table.hpp.
struct watch_part : watched {
    watch_part* next_part = nullptr;
    alarm_source* alarm = nullptr;
    void (*arm)(watch_part&, std::uint64_t now) noexcept = nullptr;
    void (*link)(watch_part&, watch_room&) noexcept = nullptr;
    void (*unlink)(watch_part&, watch_room&) noexcept = nullptr;
    bool (*run_fired)(watch_part&, watch_list&) noexcept = nullptr;  // false once the guard is being destroyed
    void (*detach)(watch_part&) noexcept = nullptr;                  // from its guard, last of all
};

// All watchdogs of a guard: those without a name are one group, each name is another.
class watch_list {
  public:
    ~watch_list() {
        while (parts_ != nullptr) {
            watch_part* const gone = parts_;
            parts_ = gone->next_part;
            gone->detach(*gone);
        }
        while (groups_ != &unnamed_) {
            watch_group* const gone = groups_;
            groups_ = gone->next_group;
            delete gone;
        }
    }

    failure open(opening const& to) noexcept {
        to_ = to;
        mask_ = current_mask();
        helper_.belong_to(to);
        helper_.first = [](source& self) noexcept { static_cast<helper_part&>(self).list->run_fired(); };
        helper_.list = this;
        prepare(unnamed_, 0, nullptr);
        unnamed_.resting = to.resting;
        return {};
    }

    // `place` is that of the word that feeds it: 0 for a watchdog without a name.
    failure add(watch& added, unsigned place, char const* name) noexcept {
        if (added.at < shortest_watch) added.at = shortest_watch;
        watch_group* group = groups_;
        while (group != nullptr && group->fed != to_.fed + place) group = group->next_group;
        if (group == nullptr) {
            group = ::new (std::nothrow) watch_group;
            if (group == nullptr) return {ENOMEM, "operator new", 0};
            prepare(*group, place, name);
            group->next_group = groups_;
            groups_ = group;
        }
        group->add(added);
        return {};
    }

    void add(watch_part& added) noexcept {
        added.alarm = &helper_;
        added.next_part = parts_;
        parts_ = &added;
    }

    // In this process, from `now` on.
    void arm(std::uint64_t now) noexcept {
        each([now](watch_group& group) { group.arm(now); });
        each_part([now](watch_part& part) { part.arm(part, now); });
        process_.store(in_signal::getpid());
    }

    failure start() noexcept {
        {
            table_lock const locked{*to_.in};
            watch_room* const room = find_room(*to_.in);
            if (room == nullptr) return {ENOMEM, "malloc", 0};
            arm(in_signal::monotonic());
            each([room](watch_group& group) { group.link_to(*room); });
            each_part([room](watch_part& part) { part.link(part, *room); });
        }
        return start_watcher(*to_.in);
    }

    // In the order that lets nothing new begin: no look, then no reaction.
    void close() noexcept {
        if (to_.in == nullptr || process_.load() == 0) return;
        closed_.store(1);
        {
            table_lock const locked{*to_.in};
            watch_room& room = room_of(*to_.in);
            each([&room](watch_group& group) { group.unlink_from(room); });
            each_part([&room](watch_part& part) { part.unlink(part, room); });
            detail::forget_alarm(room, helper_);
        }
        remove_source(*to_.in, in_signal::helper, helper_);
    }

    failure rearm() noexcept {
        {
            table_lock const locked{*to_.in};
            watch_room& room = room_of(*to_.in);
            to_.resting->store(0);
            generation_.fetch_add(1);
            arm(in_signal::monotonic());
            each([&room](watch_group& group) { group.be_due(room); });
            each_part([&room](watch_part& part) { detail::look_sooner(room, part, part.due); });
        }
        return start_watcher(*to_.in);
    }

    // On the helper: runs the rows that have fired, in the mask of the thread that built the guard.
    void run_fired() noexcept {
        if (process_.load() != in_signal::getpid()) return;
        for (watch_group* group = groups_; group != nullptr; group = group->next_group) {
            for (watch* one = group->first(); one != nullptr; one = one->next) {
                if (one->fired.load() == 0 || one->fired.exchange(0) == 0) continue;
                if (closed_.load() != 0)
                    return;  // by a reaction that destroyed the guard, or by another thread
                in_signal::hang_note note{one->reached, group->name};
                run({one->program, one->run}, note, nullptr);
            }
        }
        for (watch_part* part = parts_; part != nullptr; part = part->next_part)
            if (!part->run_fired(*part, *this)) return;
    }

    // A row, in the mask of the thread that built the guard. `tag` is what its reactions are given as a pointer.
    void run(fired_row const& row, in_signal::hang_note& note, void* tag) noexcept {
        siginfo_t info{};
        info.si_lower = &note;
        if (tag != nullptr) info.si_code = SI_TIMER;
        info.si_value.sival_ptr = tag;
        in_signal::arrival hang{0, &info, nullptr, to_.in};
        set_mask(mask_ & all_but_faults(*to_.in));
        row.run(row.program, hang);
        set_mask(all_but_faults(*hang.in));
    }

    // A rest begins; what it answers is for its end.
    std::uint32_t begin_rest() noexcept {
        if (to_.resting != nullptr) to_.resting->fetch_add(2);
        return generation_.load_relaxed();
    }
    // The watcher starts anew at its next look. The end of a rest that began before fork is not counted in a child
    // that has been armed since.
    void end_rest(std::uint32_t generation) noexcept {
        if (to_.resting == nullptr || generation_.load_relaxed() != generation) return;
        to_.fed->store(1);
        if (to_.resting->fetch_sub(2) != 3) return;
        {
            table_lock const locked{*to_.in};
            unnamed_.wake_up(room_of(*to_.in));
        }
        wake_service(to_.in->services[in_signal::watcher]);
    }

    template <class Visit>
    void each(Visit visit) noexcept {
        for (watch_group* group = groups_; group != nullptr; group = group->next_group)
            if (group->first() != nullptr) visit(*group);
    }
    template <class Visit>
    void each_part(Visit visit) noexcept {
        for (watch_part* part = parts_; part != nullptr; part = part->next_part) visit(*part);
    }
    bool closed() const noexcept { return closed_.load() != 0; }
    opening const& opened() const noexcept { return to_; }

  private:
    struct helper_part : alarm_source {
        watch_list* list = nullptr;
    };

    void prepare(watch_group& group, unsigned place, char const* name) noexcept {
        group.fed = to_.fed + place;
        group.alarm = &helper_;
        group.in = to_.in;
        group.name = name;
    }

    opening to_{};
    in_signal::kernel_set mask_ = 0;           // of the thread that builds the guard
    watch_group unnamed_;
    watch_group* groups_ = &unnamed_;          // the unnamed one is the last
    watch_part* parts_ = nullptr;
    in_signal::atomic<std::int32_t> process_;  // where they are armed
    in_signal::atomic<std::uint32_t> closed_;
    in_signal::atomic<std::uint32_t> generation_;
    helper_part helper_;
};

}  // namespace tocsin::posix
