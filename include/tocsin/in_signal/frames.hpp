// SPDX-License-Identifier: MIT
// The frames of one stack, in a bounded place.
//
// Runs in the handler. Of a stack that is deeper than the place is large both ends are kept, and what lies between is
// counted: the innermost frames tell what went wrong, the outermost what the thread was for.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tocsin::in_signal {

struct frame {
    std::uintptr_t pc;
    bool exact;  // pc is the instruction; otherwise it is where a call returns to: look up pc - 1
};

enum class ending : std::uint8_t {
    end_of_stack,  // the tables, a zero return address or a zero frame pointer say so
    limit,         // most_omitted frames were counted after the last one stored, or the work was too much
    lost,          // no rule, or memory that cannot be read
    cycle,         // a caller below its callee, or too many changes of stack
};

struct walk {
    std::size_t frames;   // stored
    std::size_t inner;    // of those, before the gap: the innermost ones; the others are the outermost
    std::size_t omitted;  // counted in the gap
    ending ended;
    bool guessed;  // an unknown frame pointer was searched for on the stack
};

inline constexpr std::size_t most_omitted = 250'000;
// Both ends of a stack in a bounded place: the innermost frames, and behind them a ring with the last ones seen.
class frame_ends {
  public:
    frame_ends(frame* out, std::size_t limit) noexcept : out_{out}, limit_{limit}, ring_{limit / 4} {}

    void add(frame const& next) noexcept {
        if (count_ < limit_)
            out_[count_] = next;
        else if (ring_ != 0)
            out_[inner() + (count_ - limit_) % ring_] = next;
        ++count_;
    }
    std::size_t count() const noexcept { return count_; }

    // Puts the ring in order.
    void finish(walk& done) noexcept {
        done.frames = count_ < limit_ ? count_ : limit_;
        done.inner = count_ <= limit_ ? done.frames : inner();
        done.omitted = count_ - done.frames;
        if (done.omitted == 0 || ring_ == 0) return;
        std::size_t const oldest = done.omitted % ring_;
        reverse(inner(), inner() + oldest);
        reverse(inner() + oldest, limit_);
        reverse(inner(), limit_);
    }

  private:
    std::size_t inner() const noexcept { return limit_ - ring_; }

    void reverse(std::size_t from, std::size_t to) noexcept {
        for (; from + 1 < to; ++from, --to) {
            frame const kept = out_[from];
            out_[from] = out_[to - 1];
            out_[to - 1] = kept;
        }
    }

    frame* out_;
    std::size_t limit_;
    std::size_t ring_;
    std::size_t count_ = 0;
};

}  // namespace tocsin::in_signal
