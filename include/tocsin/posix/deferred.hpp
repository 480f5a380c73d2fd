// SPDX-License-Identifier: MIT
// Reactions that run later, at the owner's safe point.
//
// Runs on any ordinary thread.
#pragma once

#include <tocsin/posix/inbox.hpp>
#include <tocsin/posix/opening.hpp>
#include <tocsin/posix/service.hpp>

namespace tocsin::posix {

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
