// SPDX-License-Identifier: MIT
// Reactions that run later, on the dispatcher thread.
//
// Runs on any ordinary thread.
#pragma once

#include <tocsin/posix/inbox.hpp>
#include <tocsin/posix/owned_source.hpp>

namespace tocsin::posix {

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

    // Blocked while reactions run, whichever guard claims them: where one thread of the program takes them from the
    // kernel's queue, two that do would change the order.
    in_signal::kernel_set queued_signals() const noexcept {
        in_signal::kernel_set set = 0;
        for (int signal = in_signal::watchdog_place + 1; signal < in_signal::slot_count; ++signal)
            if (in_->slots[signal].newest.load() != nullptr) set |= in_signal::bit_of(signal);
        return set & all_but_faults(*in_);
    }

    // Runs what is there now, lowest signal first, and leaves as soon as anything new has been posted: it may be a
    // stop, and stops come first.
    void run_round() noexcept {
        box.woken.store(0);  // before the look: what has been taken meanwhile must not keep the next post from waking
        if (bits_.load() == 0 || !may_go_on() || !is_at_home()) return;
        set_mask(mask_ | queued_signals());
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

}  // namespace tocsin::posix
