// SPDX-License-Identifier: MIT
// The thread that sees hangs, and what a guard gives it to watch.
//
// Runs on the watcher thread (ticking) and on the helper thread (reactions); a guard adds and removes its watchdogs
// on any ordinary thread. A watchdog is looked at four times in its period and fires at the fourth look in a row that
// finds nobody has fed it: between one period and one and a quarter after the last feed. Each look is due a quarter
// after the one before was made, never after it should have been, so that a process which did not run (stopped,
// suspended, starved) has missed one look at most when it goes on. Feeding is a store, and costs nobody a wake-up.
//
// Nobody else's system call is interrupted: no signal, no timer of the process, a futex with a timeout on a thread of
// our own. A tracer in another pid namespace is not seen (proc_pid_status(5): TracerPid is 0 then).
#pragma once

#include <fcntl.h>
#include <string.h>

#include <tocsin/posix/deferred.hpp>
#include <tocsin/posix/source.hpp>

namespace tocsin::posix {

// Of CLOCK_MONOTONIC, in nanoseconds.
inline constexpr std::uint64_t never = ~std::uint64_t{0};

inline constexpr unsigned looks_a_period = 4;

// Shorter periods are watched as this one: what the kernel's timers and the scheduler add is not a hang.
inline constexpr std::uint64_t shortest_watch = 1'000'000;

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
    char const* digit = ::strstr(text, field);
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

    bool traced() noexcept {
        if (tracer < 0) tracer = detail::find_tracer();
        return tracer != 0;
    }
};

// What the watcher's list holds: a guard's watchdogs. `tick` is called under the table's lock once `due` has come,
// and says in `due` when it wants to be called again.
struct watched : owned_source {
    std::uint64_t due = never;
    void (*tick)(watched&, look&) noexcept = nullptr;
};

// One watchdog. All but `fired` and `unanswered` belong to the table's lock.
struct watch {
    watch* next = nullptr;
    std::uint64_t quarter = 0;
    std::uint64_t due = never;
    unsigned missed = 0;  // looks in a row that found it unfed
    bool fed = false;     // since its last look
    in_signal::atomic<std::uint32_t> fired;       // the helper has to run its row
    in_signal::atomic<std::uint32_t> unanswered;  // hangs that the row's deferred reactions have not run for
    void* program = nullptr;
    void (*run)(void* program, in_signal::arrival&) = nullptr;

    constexpr watch() noexcept = default;
    // A row is copied and moved before it is installed; nothing has happened to it by then.
    constexpr watch(watch const&) noexcept {}
    watch& operator=(watch const&) = delete;

    void arm(std::uint64_t now) noexcept {
        due = now + quarter;
        missed = 0;
        fed = false;
        fired.store(0);
        unanswered.store(0);
    }

    // True if this look is the one that fires: once a hang.
    bool tick(look& at) noexcept {
        due = at.now + quarter;
        if (fed) {
            fed = false;
            missed = 0;
            return false;
        }
        if (missed == looks_a_period || at.traced() || ++missed < looks_a_period) return false;
        fired.store(1);
        return true;
    }
};

namespace detail {

// Looks at all that is due, and answers when the next is.
inline std::uint64_t look_around(table& in, service& of) noexcept {
    table_lock const locked{in};
    look at{in_signal::monotonic(), of.process.load()};
    std::uint64_t next = never;
    for (source* each = of.sources; each != nullptr; each = each->next) {
        auto& found = static_cast<watched&>(*each);
        if (found.due <= at.now) found.tick(found, at);
        if (found.due < next) next = found.due;
    }
    return next;
}

// Sleeps until something is due or has been added. One look after another, and each reads the clock anew: what is
// overdue by much has one look as everything else.
inline void* keep_watch(void* argument) {
    auto& in = *static_cast<table*>(argument);
    service& of = in.services[in_signal::watcher];
    for (;;) {
        of.work.store(0);
        std::uint64_t const due = look_around(in, of);
        std::uint64_t const now = in_signal::monotonic();
        if (due > now) in_signal::futex_wait(of.work.address(), 0, due == never ? 0 : due - now);
    }
}

}  // namespace detail

// Sees to it that the watcher runs in this process, and knows what has been added to its list.
inline failure start_watcher(table& in) noexcept {
    wake_service(in.services[in_signal::watcher]);
    return in.operate->start(in, in_signal::watcher, &detail::keep_watch);
}

// Adds to the watcher's list.
inline failure add_watched(table& in, watched& added) noexcept {
    {
        table_lock const locked{in};
        service& of = in.services[in_signal::watcher];
        added.next = of.sources;
        of.sources = &added;
    }
    detail::pin_this_object();
    return start_watcher(in);
}

// The watchdogs of a guard. They share the guard's `fed` word, which whichever of them is looked at first takes for
// all. In a forked child they are disarmed until rearm().
class watch_list : watched {
  public:
    failure open(opening const& to) noexcept {
        in_ = to.in;
        fed_ = to.fed;
        mask_ = to.mask;
        belong_to(to);
        watched::tick = [](watched& self, look& at) noexcept { static_cast<watch_list&>(self).look_at_all(at); };
        helper_.belong_to(to);
        helper_.first = [](source& self) noexcept { static_cast<helper_part&>(self).list->run_fired(); };
        helper_.list = this;
        return {};
    }

    void add(watch& added, std::uint64_t period, void* program, void (*run)(void*, in_signal::arrival&)) noexcept {
        std::uint64_t const at_least = period < shortest_watch ? shortest_watch : period;
        added.quarter = at_least / looks_a_period + (at_least % looks_a_period != 0 ? 1 : 0);
        added.program = program;
        added.run = run;
        added.next = first_;
        first_ = &added;
    }

    // In this process, from `now` on.
    void arm(std::uint64_t now) noexcept {
        watched::due = never;
        for (watch* each = first_; each != nullptr; each = each->next) {
            each->arm(now);
            if (each->due < watched::due) watched::due = each->due;
        }
        process_.store(in_signal::getpid());
    }

    failure start() noexcept {
        arm(in_signal::monotonic());
        if (failure const refused = add_source<in_signal::helper>(*in_, helper_)) return refused;
        return add_watched(*in_, *this);
    }

    // In the order that lets nothing new begin: no look, then no reaction.
    void close() noexcept {
        if (in_ == nullptr) return;
        closed_.store(1);
        remove_source(*in_, in_signal::watcher, *this);
        remove_source(*in_, in_signal::helper, helper_);
    }

    failure rearm() noexcept {
        {
            table_lock const locked{*in_};
            fed_->store(0);
            arm(in_signal::monotonic());
        }
        failure const refused = in_->operate->start(*in_, in_signal::helper, &detail::serve<in_signal::helper>);
        return refused ? refused : start_watcher(*in_);
    }

    // One look, under the table's lock.
    void look_at_all(look& at) noexcept {
        watched::due = never;
        if (process_.load() != at.process) return;
        bool const fed = fed_->load_relaxed() != 0 && fed_->exchange(0) != 0;
        bool fired = false;
        for (watch* each = first_; each != nullptr; each = each->next) {
            each->fed = each->fed || fed;
            if (each->due <= at.now && each->tick(at)) fired = true;
            if (each->due < watched::due) watched::due = each->due;
        }
        if (fired) wake_service(in_->services[in_signal::helper]);
    }

    // On the helper: runs the rows that have fired, in the mask of the thread that built the guard.
    void run_fired() noexcept {
        if (process_.load() != in_signal::getpid()) return;
        for (watch* each = first_; each != nullptr; each = each->next) {
            if (each->fired.load() == 0 || each->fired.exchange(0) == 0) continue;
            if (closed_.load() != 0) return;  // by a reaction that destroyed the guard, or by another thread
            siginfo_t info{};
            // for the report's title
            info.si_value.sival_ptr = reinterpret_cast<void*>(each->quarter * looks_a_period);
            in_signal::arrival hang{0, &info, nullptr, in_};
            set_mask(mask_ & all_but_faults(*in_));
            each->run(each->program, hang);
            set_mask(all_but_faults(*in_));
        }
    }

    std::uint64_t next_look() const noexcept { return watched::due; }

  private:
    struct helper_part : owned_source {
        watch_list* list = nullptr;
    };

    table* in_ = nullptr;
    in_signal::atomic<std::uint32_t>* fed_ = nullptr;
    watch* first_ = nullptr;
    in_signal::kernel_set mask_ = 0;
    in_signal::atomic<std::int32_t> process_;  // where they are armed
    in_signal::atomic<std::uint32_t> closed_;
    helper_part helper_;
};

}  // namespace tocsin::posix
