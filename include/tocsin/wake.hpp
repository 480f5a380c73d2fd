// SPDX-License-Identifier: MIT
// `wake`: signals as a readable descriptor in the loop that the program already has.
#pragma once

#include <tocsin/delivery.hpp>
#include <tocsin/on.hpp>
#include <tocsin/posix/inbox.hpp>
#include <tocsin/posix/wakeup.hpp>
#include <tocsin/posix/opening.hpp>
#include <tocsin/posix/registry.hpp>

namespace tocsin {

struct wake_state;

// What has arrived: a single-pass range that takes each delivery out as it is walked. It is bounded by what was
// there when it was made, so that a flood cannot hold the loop; what is not walked, or came later, stays, and keeps
// the descriptor readable. Standard signals come before real-time ones, each in ascending order.
class arrivals {
  public:
    explicit arrivals(wake_state& from) noexcept;
    ~arrivals();
    arrivals(arrivals&& other) noexcept;
    arrivals& operator=(arrivals&&) = delete;

    struct end_of_arrivals {};
    class iterator {
      public:
        explicit iterator(arrivals& range) noexcept : range_{&range} {}
        delivery const& operator*() const noexcept { return range_->now_; }
        delivery const* operator->() const noexcept { return &range_->now_; }
        iterator& operator++() noexcept {
            range_->advance();
            return *this;
        }
        void operator++(int) noexcept { range_->advance(); }
        bool operator==(end_of_arrivals) const noexcept { return !range_->any_; }

      private:
        arrivals* range_;
    };

    iterator begin() noexcept {
        advance();
        return iterator{*this};
    }
    static end_of_arrivals end() noexcept { return {}; }

  private:
    void advance() noexcept;
    bool take_from(int place) noexcept;

    wake_state* from_;
    std::uint64_t seen_ = 0;  // signals that have had their turn
    int current_ = 0;         // the real-time signal that is being walked
    std::uint64_t left_ = 0;  // of its deliveries
    bool any_ = false;
    delivery now_;
};

// The guard's inbox and descriptor, shared by its rows.
struct wake_state {
    static constexpr feature provides = feature::wake;

    in_signal::inbox inbox{};
    in_signal::atomic<std::uint64_t> bits;
    posix::wakeup descriptor;
    in_signal::table* in = nullptr;

    ~wake_state() { posix::remove_rings(inbox); }

    failure open(posix::opening const& to) noexcept {
        in = to.in;
        if (failure const refused = descriptor.open()) return refused;
        inbox.bits = &bits;
        inbox.descriptor = descriptor.fd();
        inbox.process.store(posix::live_process(*in));
        return {};
    }
    void close() noexcept { descriptor.close(); }
    failure rearm() noexcept {
        if (failure const refused = descriptor.replace()) return refused;
        posix::renew(inbox);
        return {};
    }
    in_signal::inbox& box() noexcept { return inbox; }

    int fd() const noexcept { return descriptor.fd(); }
    arrivals take() noexcept { return arrivals{*this}; }
};

// Drains the descriptor before it looks: whatever arrives from now on makes it readable again. Here the page that fork
// wipes is enough to tell a child: a vforked one, whose memory is the parent's, may call nothing of this.
inline arrivals::arrivals(wake_state& from) noexcept : from_{&from} {
    if (from.inbox.process.load() != from.in->live_process->load_relaxed()) {
        from_ = nullptr;  // a child's own deliveries begin with rearm(); the parent's are the parent's
        return;
    }
    from.descriptor.drain();
    from.inbox.woken.store(0);
}

inline arrivals::arrivals(arrivals&& other) noexcept
    : from_{other.from_}, seen_{other.seen_}, current_{other.current_}, left_{other.left_}, any_{other.any_},
      now_{other.now_} {
    other.from_ = nullptr;
    other.any_ = false;
}

inline arrivals::~arrivals() {
    // a forked child may leave a walk that its parent began
    if (from_ == nullptr || from_->bits.load() == 0) return;
    if (from_->inbox.process.load() != from_->in->live_process->load_relaxed()) return;
    in_signal::wake(from_->inbox);
}

// Takes one delivery of this signal, if it is its turn and there is one.
inline bool arrivals::take_from(int place) noexcept {
    if (place != current_) {
        current_ = place;
        left_ = posix::waiting_at(from_->inbox, place);
    }
    if (left_ != 0 && posix::take(*from_->in, from_->inbox, place, now_)) {
        --left_;
        return true;
    }
    seen_ |= in_signal::bit_of(place);
    return false;
}

// The lowest signal first: what comes meanwhile with a lower number does not wait for the end of a long ring.
inline void arrivals::advance() noexcept {
    any_ = false;
    while (from_ != nullptr && !any_) {
        int const place = posix::lowest(from_->bits.load() & ~seen_);
        if (place == 0) return;
        any_ = take_from(place);
        if (place <= in_signal::watchdog_place) seen_ |= in_signal::bit_of(place);
    }
}

struct wake_t {
    static constexpr stage where = stage::handler;
    static constexpr bool on_fault = false;
    static constexpr bool on_hang = true;
    static constexpr bool behind_records = true;  // check() behind poll(fd()) finds what is deferred
    using state = wake_state;

    in_signal::post_to part(wake_state& shared) const noexcept { return {&shared.inbox}; }
};

// Records the delivery and makes guard.fd() readable; guard.take() yields what arrived.
[[gnu::visibility("hidden")]] inline constexpr wake_t wake{};

}  // namespace tocsin
