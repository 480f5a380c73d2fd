// SPDX-License-Identifier: MIT
// Reactions that run later, on an ordinary thread: on the dispatcher, or at the owner's safe point.
//
// Runs on any ordinary thread.
#pragma once

#include <tocsin/posix/inbox.hpp>
#include <tocsin/posix/opening.hpp>
#include <tocsin/posix/source.hpp>

namespace tocsin::posix {

// A source that belongs to a guard's state.
struct owned_source : source {
    void* owner = nullptr;
    void (*keep_owner)(void*) noexcept = nullptr;
    void (*release_owner)(void*) noexcept = nullptr;

    void belong_to(opening const& to) noexcept {
        owner = to.owner;
        keep_owner = to.keep;
        release_owner = to.release;
        keep = [](source& self) noexcept {
            auto& own = static_cast<owned_source&>(self);
            own.keep_owner(own.owner);
        };
        release = [](source& self) noexcept {
            auto& own = static_cast<owned_source&>(self);
            own.release_owner(own.owner);
        };
    }
};

// The inbox of `call(f)`: a source of the dispatcher.
class call_queue : owned_source {
  public:
    inbox box{};
    deferred_runner run = nullptr;

    failure open(opening const& to) noexcept {
        in_ = to.in;
        mask_ = current_mask() & all_but_faults(*to.in);
        belong_to(to);
        then = [](source& self) noexcept { static_cast<call_queue&>(self).run_round(); };
        box.bits = &bits_;
        box.descriptor = -1;
        box.thread = &in_->services[in_signal::dispatcher];
        box.process.store(live_process(*in_));
        return {};
    }
    // Last of all: a failure to start the thread has to find everything else in place to be taken back.
    failure start() noexcept { return add_source<in_signal::dispatcher>(*in_, *this); }

    void close() noexcept {
        closed_.store(1);
        if (in_ != nullptr) remove_source(*in_, in_signal::dispatcher, *this);
    }

    failure rearm() noexcept {
        renew(box);
        return start_service(*in_, in_signal::dispatcher, &detail::serve<in_signal::dispatcher>);
    }

    ~call_queue() { remove_rings(box); }

  private:
    // What the parent had pending is the parent's, also if another guard's row has the dispatcher run in the child.
    bool is_at_home() const noexcept { return box.process.load() == in_signal::getpid(); }

    bool may_go_on() const noexcept {
        return closed_.load() == 0 && __atomic_load_n(&in_->exiting, __ATOMIC_SEQ_CST) == 0;
    }

    // Runs what is there now, lowest signal first, and leaves as soon as anything new has been posted: it may be a
    // stop, and stops come first.
    void run_round() noexcept {
        box.woken.store(0);  // before the look: what has been taken meanwhile must not keep the next post from waking
        if (bits_.load() == 0 || !may_go_on() || !is_at_home()) return;
        set_mask(mask_);
        run_all();
        set_mask(all_but_faults(*in_));
    }

    void run_all() noexcept {
        service& of = in_->services[in_signal::dispatcher];
        for (std::uint64_t left = bits_.load(); left != 0; left &= left - 1) {
            int const place = lowest(left);
            std::uint64_t waiting = waiting_at(box, place);
            delivery what;
            while (waiting-- != 0 && may_go_on() && take(*in_, box, place, what)) {
                unsigned step = 0;
                run(owner, what, step);
                if (of.work.load() != 0 && may_go_on() && bits_.load() != 0) return;
            }
            if (!may_go_on()) return;
        }
        if (bits_.load() != 0) wake_service(of);
    }

    in_signal::atomic<std::uint64_t> bits_;
    in_signal::atomic<std::uint32_t> closed_;
    in_signal::kernel_set mask_ = 0;
    table* in_ = nullptr;
};

// The inbox of `defer(f)`: run by whoever calls `check`.
class safe_point {
  public:
    inbox box{};
    deferred_runner run = nullptr;
    std::uint64_t (*same_row)(void* owner, int place) = nullptr;  // the places that share their reactions

    failure open(opening const& to) noexcept {
        to_ = to;
        box.bits = to.pending;
        box.descriptor = -1;
        box.works_in_child = true;
        box.process.store(live_process(*to.in));
        seen_in_.store(box.process.load());
        return {};
    }
    void close() noexcept { closed_.store(1); }
    void rearm() noexcept { renew_in_child(); }
    ~safe_point() { remove_rings(box); }

    // Runs what is pending in one pass from the lowest signal to the highest; answers how many deliveries ran.
    std::size_t check() {
        renew_in_child();
        turn mine{*this};
        if (!mine.taken) return 0;
        std::size_t ran = 0;
        for (int place = 1; place < in_signal::slot_count; ++place) {
            std::uint64_t const bit = in_signal::bit_of(place);
            if ((box.bits->load() & ~running_ & bit) == 0) continue;
            ran += run_place(place);
            if (closed_.load() != 0) return ran;  // a reaction has destroyed the guard
        }
        return ran;
    }

    // Takes what is pending at one place, without the reactions; answers the last delivery, standing for all of them.
    // What a reaction that threw had left to the others is in it.
    delivery consume(int place) {
        delivery last;
        unsigned long count = 0;
        drain(place, [&](delivery const& what, unsigned) {
            last = what;
            count += what.merged();
        });
        return last.merged(count);
    }

    // The same, one by one, with the number of reactions that have run for it already.
    template <class Visit>
    void drain(int place, Visit visit) {
        if (box.bits == nullptr || place < 1 || place >= in_signal::slot_count) return;
        if (place > in_signal::watchdog_place && box.rings[place] == nullptr) return;
        renew_in_child();
        turn mine{*this};
        if (!mine.taken || (box.bits->load() & in_signal::bit_of(place)) == 0) return;
        if (unsigned const step = unfinished_[place].step) {
            unfinished_[place].step = 0;
            visit(unfinished_[place].what, step);
        }
        std::uint64_t waiting = waiting_at(box, place);
        delivery what;
        while (waiting-- != 0 && take(*to_.in, box, place, what)) visit(what, 0U);
    }

  private:
    // One thread at a time, as often as it likes; the guard's state outlives the turn.
    struct turn {
        safe_point& of;
        bool taken;
        bool outermost = false;

        explicit turn(safe_point& point) noexcept : of{point}, taken{true} {
            std::uintptr_t const self = in_signal::thread_pointer();
            std::uintptr_t found = 0;
            if (of.owner_.compare_exchange(found, self))
                outermost = true;
            else if (found != self)
                taken = false;
            if (taken) of.to_.keep(of.to_.owner);
        }
        ~turn() {
            if (outermost) of.owner_.store(0);
            if (taken) of.to_.release(of.to_.owner);
        }
        turn(turn const&) = delete;
        turn& operator=(turn const&) = delete;
    };

    // A delivery whose reactions are being run. If one throws, the others stay pending.
    struct started {
        safe_point& of;
        int place;
        delivery what;
        unsigned step;

        ~started() {
            std::uint64_t const bit = in_signal::bit_of(place);
            of.running_ &= ~of.same_row(of.to_.owner, place);
            if (step == all_steps || of.closed_.load() != 0) return;
            of.unfinished_[place] = {what, step};
            of.box.bits->fetch_or(bit);
        }
    };

    struct rest {
        delivery what;
        unsigned step = 0;
    };

    void run_one(int place, delivery const& what, unsigned step) {
        running_ |= same_row(to_.owner, place);
        started one{*this, place, what, step};
        run(to_.owner, one.what, one.step);
    }

    std::size_t run_place(int place) {
        std::size_t ran = 0;
        std::uint64_t waiting = waiting_at(box, place);
        if (unfinished_[place].step != 0) {
            rest const left = unfinished_[place];
            unfinished_[place].step = 0;
            ++ran;
            run_one(place, left.what, left.step);
            if (closed_.load() != 0) return ran;
        }
        box.woken.store(0);
        delivery what;
        while (waiting-- != 0 && closed_.load() == 0 && take(*to_.in, box, place, what)) {
            ++ran;
            run_one(place, what, 0);
        }
        return ran;
    }

    // What the parent had pending is the parent's; a thread that was in its turn when the process forked is not here.
    void renew_in_child() noexcept {
        std::int32_t const self = in_signal::getpid();
        if (seen_in_.exchange(self) == self) return;
        renew(box);
        for (rest& each : unfinished_) each.step = 0;
        if (owner_.load() != in_signal::thread_pointer()) {
            owner_.store(0);
            running_ = 0;
        }
    }

    opening to_{};
    in_signal::atomic<std::uintptr_t> owner_;
    in_signal::atomic<std::int32_t> seen_in_;
    in_signal::atomic<std::uint32_t> closed_;
    std::uint64_t running_ = 0;
    rest unfinished_[in_signal::slot_count];
};

}  // namespace tocsin::posix
