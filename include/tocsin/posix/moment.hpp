// SPDX-License-Identifier: MIT
// When a wait ends: never, after a length of time, or at a point of some clock.
//
// Runs on any ordinary thread. Each kind says how long to wait before it wants to be asked again, in
// nanoseconds of CLOCK_MONOTONIC; 0 means that the moment has come. A wait that is interrupted asks again and
// goes on towards the same moment, so that interruptions do not lengthen it.
#pragma once

#include <cstdint>

#include <tocsin/duration.hpp>
#include <tocsin/in_signal/system.hpp>
#include <tocsin/posix/duration_refusal.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/posix/timer.hpp>

namespace tocsin::posix {

__extension__ using signed_wide = __int128;

// Since the clock's beginning, which may lie in the future. What is too long or no number comes back in `is`;
// too long before the beginning is as good as as long as can be.
template <class D>
signed_wide signed_nanoseconds(D const& since, tocsin::detail::length& is) noexcept {
    using tocsin::detail::length;
    auto const size = tocsin::detail::magnitude<nanoseconds_a_second, typename D::period>(since.count());
    bool const before = since.count() < decltype(since.count()){};
    is = before ? length::some : size.is;
    return before ? -static_cast<signed_wide>(size.count) : static_cast<signed_wide>(size.count);
}

struct no_end {
    static constexpr bool ends = false;
    std::uint64_t left() const noexcept { return tocsin::detail::longest_duration; }
};

struct at_once {
    static constexpr bool ends = true;
    std::uint64_t left() const noexcept { return 0; }
};

class after {
  public:
    static constexpr bool ends = true;

    template <tocsin::detail::duration D>
    after(D const& length, duration_words const& words) noexcept {
        auto const nanoseconds = tocsin::detail::whole_units<nanoseconds_a_second>(length);
        refused_ = refusal(nanoseconds.is, words);
        deadline_ = in_signal::monotonic() + nanoseconds.count;
    }

    failure const& refused() const noexcept { return refused_; }
    std::uint64_t left() const noexcept {
        std::uint64_t const now = in_signal::monotonic();
        return now < deadline_ ? deadline_ - now : 0;
    }

  private:
    std::uint64_t deadline_;
    failure refused_;
};

// A clock that does not promise to be steady may be set meanwhile, and is looked at every second.
template <tocsin::detail::time_point P>
class at {
  public:
    static constexpr bool ends = true;

    at(P const& point, duration_words const& words) {
        tocsin::detail::length is{};
        then_ = signed_nanoseconds(point.time_since_epoch(), is);
        refused_ = refusal(is, words);
    }

    failure const& refused() const noexcept { return refused_; }
    std::uint64_t left() const {
        tocsin::detail::length is{};
        signed_wide const left = then_ - signed_nanoseconds(P::clock::now().time_since_epoch(), is);
        signed_wide const most = steady ? tocsin::detail::longest_duration : nanoseconds_a_second;
        return static_cast<std::uint64_t>(left <= 0 ? 0 : left < most ? left : most);
    }

  private:
    static constexpr bool steady = [] {
        if constexpr (requires { requires P::clock::is_steady; }) return true;
        return false;
    }();

    signed_wide then_;
    failure refused_;
};

}  // namespace tocsin::posix
