// SPDX-License-Identifier: MIT
// An alternate stack for threads that run already, and that nobody has told of one.
//
// Runs on any ordinary thread. Each thread is sent a real-time signal that is free, once; where it waits in a system
// call that is never restarted (signal(7)), that call fails with EINTR. The stacks stay for ever: a thread that ends
// does not say so. A thread that blocks the signal, or does not run for half a second, stays without.
#pragma once

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <new>

#include <tocsin/in_signal/stack_offer.hpp>
#include <tocsin/in_signal/tasks.hpp>
#include <tocsin/posix/service.hpp>

namespace tocsin::posix {

using in_signal::offer_state;
using in_signal::stack_offer;
using in_signal::stack_offers;

namespace detail {

inline constexpr std::uint64_t patience_of_offers = 500'000'000;  // nanoseconds

inline void* map_memory(std::size_t bytes) noexcept {
    void* const memory =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? nullptr : memory;
}

// A signal that nobody uses, for the moment. As an unused one is ignored before it is given back, one that a thread
// still blocks is discarded (POSIX, 2.4.3 "Signal Actions") and does not end the process.
class borrowed_signal {
  public:
    bool open(table& in, void (*handler)(int, siginfo_t*, void*)) noexcept {
        struct sigaction wanted {};
        wanted.sa_sigaction = handler;
        // Nothing is blocked: a thread that has just answered would look like one that blocks every signal.
        wanted.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER;
        for (int each = SIGRTMAX - 2; each > SIGRTMIN; --each) {
            struct sigaction before {};
            if (each == in.reserved_signal.load() || ::sigaction(each, nullptr, &before) != 0) continue;
            if (before.sa_handler != SIG_DFL) continue;
            if (::sigaction(each, &wanted, nullptr) != 0) continue;
            number_ = each;
            handler_ = handler;
            return true;
        }
        return false;
    }
    ~borrowed_signal() {
        struct sigaction live {};
        if (number_ == 0 || ::sigaction(number_, nullptr, &live) != 0 || live.sa_sigaction != handler_)
            return;
        struct sigaction next {};
        next.sa_handler = SIG_IGN;
        ::sigaction(number_, &next, nullptr);
        next.sa_handler = SIG_DFL;
        ::sigaction(number_, &next, nullptr);
    }
    borrowed_signal() noexcept = default;
    borrowed_signal(borrowed_signal const&) = delete;
    borrowed_signal& operator=(borrowed_signal const&) = delete;

    int number() const noexcept { return number_; }

  private:
    int number_ = 0;
    void (*handler_)(int, siginfo_t*, void*) = nullptr;
};

class stack_giver {
  public:
    explicit stack_giver(table& in) noexcept : in_{in} {
        auto const page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
        usable_ = (alternate_stack_need(in.limit.alternate_stack) + page - 1) / page * page;
        guard_ = page;
    }

    failure give(unsigned& without) noexcept {
        std::size_t room = 0;
        if (int const refused = in_signal::each_task([&](int) noexcept { ++room; }))
            return {refused, "opendir", 0};
        room += 64;  // for those that start meanwhile
        void* const memory = map_memory(sizeof(stack_offers) + room * sizeof(stack_offer));
        if (memory == nullptr) return {ENOMEM, "mmap", 0};
        all_ = ::new (memory) stack_offers;
        all_->first = reinterpret_cast<stack_offer*>(all_ + 1);
        borrowed_signal borrowed;
        if (!borrowed.open(in_, &in_signal::take_offered_stack)) return {EBUSY, "sigaction", 0};
        prepare(room, borrowed.number());
        in_signal::offered_stacks.store(all_);
        std::uint32_t const asked = send(borrowed.number());
        wait(asked);
        without = withdraw();
        return {};
    }

  private:
    void prepare(std::size_t room, int signal) noexcept {
        int const self = in_signal::gettid();
        in_signal::each_task([&](int thread) noexcept {
            if (thread == self || all_->count == room || is_our_own(thread)) return;
            stack_offer* const offer = ::new (static_cast<void*>(all_->first + all_->count)) stack_offer;
            ++all_->count;
            offer->thread = thread;
            bool const deaf = in_signal::blocks(thread, signal);
            if (deaf || !make_stack(*offer))
                offer->state.store(static_cast<std::uint32_t>(offer_state::withdrawn));
        });
    }

    // The library's own threads have one, and would not answer.
    static bool is_our_own(int thread) noexcept {
        in_signal::task_file<32> const name{thread, "comm"};
        for (char const* const own : service_names)
            if (__builtin_strcmp(own, name.text()) == 0) return true;
        return false;
    }

    bool make_stack(stack_offer& offer) const noexcept {
        void* const memory = map_memory(usable_ + guard_);
        if (memory == nullptr) return false;
        ::mprotect(memory, guard_, PROT_NONE);
        offer.lowest = static_cast<char*>(memory) + guard_;
        offer.size = usable_;
        return true;
    }

    std::uint32_t send(int signal) noexcept {
        std::uint32_t asked = 0;
        for (std::uint32_t i = 0; i < all_->count; ++i) {
            stack_offer& offer = all_->first[i];
            if (offer.state.load() != static_cast<std::uint32_t>(offer_state::open)) continue;
            if (in_signal::tgkill(in_signal::getpid(), offer.thread, signal) == 0) ++asked;
        }
        return asked;
    }

    void wait(std::uint32_t asked) noexcept {
        std::uint64_t const end = in_signal::monotonic() + patience_of_offers;
        for (;;) {
            std::uint32_t const answered = all_->answered.load();
            std::uint64_t const now = in_signal::monotonic();
            if (answered >= asked || now >= end) return;
            in_signal::futex_wait(all_->answered.address(), answered, end - now);
        }
    }

    // Answers how many threads are there and have none.
    unsigned withdraw() noexcept {
        unsigned without = 0;
        for (std::uint32_t i = 0; i < all_->count; ++i) {
            stack_offer& offer = all_->first[i];
            offer.state.replace(static_cast<std::uint32_t>(offer_state::open),
                                static_cast<std::uint32_t>(offer_state::withdrawn));
            auto const became = static_cast<offer_state>(offer.state.load());
            if (became != offer_state::taken && offer.lowest != nullptr)
                ::munmap(static_cast<char*>(offer.lowest) - guard_, usable_ + guard_);
            bool const there = in_signal::tgkill(in_signal::getpid(), offer.thread, 0) == 0;
            if (became == offer_state::withdrawn && there) ++without;
        }
        return without;
    }

    table& in_;
    stack_offers* all_ = nullptr;
    std::size_t usable_ = 0;
    std::size_t guard_ = 0;
};

}  // namespace detail

// Gives a stack to each thread of the process but the calling one. `without` becomes the number of those that have
// none.
[[gnu::visibility("hidden")]] inline failure give_stacks(table& in, unsigned& without) noexcept {
    detail::stack_giver giver{in};
    return giver.give(without);
}

}  // namespace tocsin::posix
