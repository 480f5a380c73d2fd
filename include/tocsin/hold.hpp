// SPDX-License-Identifier: MIT
// `hold`: the reactions to signals wait while a scope runs. A mask for hot paths, without a system call.
//
// Runs on any ordinary thread. It is for this thread: a signal of the process that another thread takes is handled
// there at once. Only a delivery that comes meanwhile costs system calls, as blocking would have.
//
//     { hold here; … }      two stores when nothing comes
//
// Held are the signals of guards; a handler that others have installed runs as ever, until a guard's signal has come:
// from then on all signals wait, except faults. Faults are never held, nor simulate(). What has come is delivered at
// the end, nothing lost, values and senders as they were; real-time signals that were sent to the process in their
// order, those that were sent to this very thread perhaps with the first one last. System calls are interrupted as by
// the signal's row. A guard that ends meanwhile leaves what was held to what is there then, as with a blocked signal;
// what is held when the process exits goes with it.
//
// Holds nest, as scopes do; the outermost counts. A hold ends on its own thread, and is not left by siglongjmp. A
// forked child holds on as its parent does, and does not get what came for the parent. A mask that the program changes
// inside otherwise than for a scope may be opened at its end, if something came.
#pragma once

#include <signal.h>

#include <tocsin/in_signal/held.hpp>
#include <tocsin/posix/library.hpp>
#include <tocsin/posix/refusal.hpp>

namespace tocsin {

namespace detail {

// Sends what was kept again, and opens what was closed for it: it comes first. Where the kernel's queue is full, it is
// delivered from here, without a context; where that finds a full record, the queue is tried again.
[[gnu::visibility("hidden"), gnu::noinline, gnu::cold]] inline void release_kept(
    in_signal::table& in, in_signal::kept_delivery& kept) noexcept {
    int const reason = errno;
    bool const ours = kept.process == in_signal::getpid();
    while (ours && in_signal::queue_to_thread(kept.process, in_signal::gettid(), kept.signal, &kept.info) != 0) {
        in_signal::arrival a{kept.signal, &kept.info, nullptr, &in};
        a.simulated = true;
        in.operate->deliver(a);
        if (!a.refused) break;
        in_signal::nap(50'000);
    }
    in_signal::kernel_set now = 0;
    in_signal::change_mask(SIG_BLOCK, nullptr, &now);
    posix::set_mask(now & ~kept.closed);
    errno = reason;
}

[[noreturn, gnu::cold]] inline void hold_ended_elsewhere() noexcept {
    constexpr char said[] = "tocsin: a hold was begun by one thread and is ended by another\n";
    in_signal::write(2, said, sizeof said - 1);
    __builtin_abort();
}

}  // namespace detail

// Reactions wait from here to the end of the scope. Throws tocsin::error if the library cannot find or make its table.
class [[nodiscard]] hold {
  public:
    hold() : self_{in_signal::thread_pointer()}, in_{in_signal::the_table.load_acquire()} {
        in_signal::own_cell* own = in_ == nullptr ? nullptr : &in_->own[in_signal::first_cell(self_) % own_count];
        if (own == nullptr || own->owner.load_relaxed() != self_) own = find_cell();
        if (own == nullptr) {
            block_instead();
            return;
        }
        if (own->kept.load_relaxed() != nullptr) return;  // an outer one holds
        kept_.put_off = &in_signal::put_off;
        kept_.signal = 0;
        own->kept.store_relaxed(&kept_);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        if (own->holder.load_relaxed() == 0) own->holder.store_relaxed(in_signal::holding_mark(self_));
        cell_ = own;
    }
    ~hold() {
        if (cell_ == nullptr) return;
        if (self_ != in_signal::thread_pointer()) detail::hold_ended_elsewhere();
        if (cell_ == &masked) {
            posix::set_mask(kept_.closed);
            return;
        }
        if (cell_->holder.load_relaxed() == in_signal::holding_mark(self_)) cell_->holder.store_relaxed(0);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        cell_->kept.store_relaxed(nullptr);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        if (kept_.signal != 0) detail::release_kept(*in_, kept_);
    }
    hold(hold const&) = delete;
    hold& operator=(hold const&) = delete;

  private:
    static constexpr unsigned own_count = in_signal::own_count;

    [[gnu::noinline, gnu::cold]] in_signal::own_cell* find_cell() {
        if (in_ == nullptr)
            if (failure const refused = posix::find_table(in_)) posix::fail(refused);
        return in_->operate->take_own_cell(*in_, self_);
    }
    // More threads than cells, or a system without membarrier(2): a mask of the kernel's.
    [[gnu::noinline, gnu::cold]] void block_instead() noexcept {
        kept_.closed = posix::current_mask();
        posix::set_mask(kept_.closed | posix::all_but_faults(*in_));
        cell_ = &masked;
    }

    // Stands for a mask.
    [[gnu::visibility("hidden")]] static inline constinit in_signal::own_cell masked{};

    std::uintptr_t self_;
    in_signal::table* in_;
    in_signal::own_cell* cell_ = nullptr;
    in_signal::kept_delivery kept_;
};

}  // namespace tocsin
