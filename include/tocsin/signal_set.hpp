// SPDX-License-Identifier: MIT
// `signal_set{SIGUSR1, rt<3>}`: sets of signals, and the sets that have names.
//
// A value; runs anywhere, handlers included. Sets are constants even if real-time signals are in them: those
// are kept by their distance from SIGRTMIN until somebody asks for numbers. A number that is no signal does
// not become a member; the set remembers the first such number, and whatever takes the set refuses it by
// that.
#pragma once

#include <signal.h>

#include <cstdint>

#include <tocsin/signal.hpp>
#include <tocsin/traits.hpp>

namespace tocsin {

namespace detail {

template <class T>
concept signal_like = whole_number<T> || same<T, realtime>;

inline constexpr std::uint64_t standard_bits = (std::uint64_t{1} << standard_signals) - 1;
inline constexpr std::uint64_t realtime_offsets = (std::uint64_t{1} << 31) - 1;  // rt<0> to rt<30>

constexpr std::uint64_t bit_of(int signal) noexcept { return std::uint64_t{1} << (signal - 1); }

constexpr unsigned count_bits(std::uint64_t bits) noexcept {
    unsigned count = 0;
    for (; bits != 0; bits &= bits - 1) ++count;
    return count;
}

// The numbers from SIGRTMIN to SIGRTMAX.
inline std::uint64_t realtime_numbers() noexcept {
    return (~std::uint64_t{0} << (SIGRTMIN - 1)) & (~std::uint64_t{0} >> (last_signal - SIGRTMAX));
}

}  // namespace detail

// A set of signals. `s.contains(SIGHUP)`, `for (int signal : s)`, and `a | b`, `a & b`, `a - b`, `~a`, `a ==
// b`. Signals are ints or rt<N>. SIGKILL and SIGSTOP may be members, though most things that take a set
// refuse them.
class signal_set {
  public:
    class iterator {
      public:
        using value_type = int;
        using difference_type = std::ptrdiff_t;

        constexpr iterator() noexcept = default;
        constexpr explicit iterator(std::uint64_t left) noexcept : left_{left} {}

        constexpr int operator*() const noexcept { return __builtin_ctzll(left_) + 1; }
        constexpr iterator& operator++() noexcept {
            left_ &= left_ - 1;
            return *this;
        }
        constexpr iterator operator++(int) noexcept {
            iterator const before{*this};
            ++*this;
            return before;
        }
        friend constexpr bool operator==(iterator, iterator) noexcept = default;

      private:
        std::uint64_t left_ = 0;
    };

    constexpr signal_set() noexcept = default;
    template <detail::signal_like... Signals>
        requires(sizeof...(Signals) != 0)
    constexpr signal_set(Signals... signals) noexcept { (add(signals), ...); }
    // As libc has it. What libc keeps for itself is left out.
    explicit signal_set(sigset_t const& native) noexcept {
        for (int signal = 1; signal <= detail::last_signal; ++signal)
            if (is_valid(signal) && ::sigismember(&native, signal) == 1) numbers_ |= detail::bit_of(signal);
    }
    // By the kernel's numbers: signal 1 is the lowest bit.
    static constexpr signal_set of_bits(std::uint64_t bits) noexcept {
        signal_set made;
        made.numbers_ = bits;
        return made;
    }

    constexpr void add(std::int64_t signal) noexcept {
        if (signal >= 1 && signal <= detail::standard_signals)
            numbers_ |= detail::bit_of(static_cast<int>(signal));
        else if (signal > detail::standard_signals && signal <= detail::last_signal &&
                 is_valid(static_cast<int>(signal)))
            numbers_ |= detail::bit_of(static_cast<int>(signal));
        else
            refuse(signal);
    }
    constexpr void add(realtime signal) noexcept {
        if (signal.offset >= 0 && signal.offset <= 30)
            offsets_ |= std::uint64_t{1} << signal.offset;
        else
            refuse(signal.offset);
    }

    constexpr bool contains(int signal) const noexcept {
        if (signal < 1 || signal > detail::last_signal) return false;
        bool const standard = signal <= detail::standard_signals;
        return ((standard ? numbers_ : bits()) & detail::bit_of(signal)) != 0;
    }
    constexpr bool contains(realtime signal) const noexcept {
        bool const possible = signal.offset >= 0 && signal.offset <= 30;
        if (!possible || (offsets_ >> signal.offset & 1) != 0) return possible;
        return has_numbers_above() && contains(static_cast<int>(signal));
    }
    constexpr unsigned size() const noexcept { return detail::count_bits(bits()); }
    constexpr bool empty() const noexcept { return numbers_ == 0 && offsets_ == 0; }
    constexpr explicit operator bool() const noexcept { return !empty(); }

    // In ascending order.
    constexpr iterator begin() const noexcept { return iterator{bits()}; }
    constexpr iterator end() const noexcept { return iterator{}; }

    // False if the set was given a number that is no signal of this system.
    constexpr bool valid() const noexcept { return !refused_; }
    // The first such number; 0 if there was none, or if it was 0.
    constexpr int invalid() const noexcept { return invalid_; }

    // As the kernel counts: signal 1 is the lowest bit. Constant unless real-time signals are in the set.
    constexpr std::uint64_t bits() const noexcept {
        if (offsets_ == 0) return numbers_;
        return numbers_ | ((offsets_ << (SIGRTMIN - 1)) & detail::realtime_numbers());
    }
    sigset_t native() const noexcept {
        sigset_t made;
        ::sigemptyset(&made);
        for (int const signal : *this) ::sigaddset(&made, signal);
        return made;
    }

    friend constexpr signal_set operator|(signal_set left, signal_set right) noexcept {
        signal_set made = left;
        made.numbers_ |= right.numbers_;
        made.offsets_ |= right.offsets_;
        made.inherit(right);
        return made;
    }
    friend constexpr signal_set operator&(signal_set left, signal_set right) noexcept {
        signal_set made = of_bits(0);
        if (left.has_numbers_above() || right.has_numbers_above()) {
            made.numbers_ = left.bits() & right.bits();
        } else {
            made.numbers_ = left.numbers_ & right.numbers_;
            made.offsets_ = left.offsets_ & right.offsets_;
        }
        made.inherit(left);
        made.inherit(right);
        return made;
    }
    friend constexpr signal_set operator-(signal_set left, signal_set right) noexcept {
        signal_set made = left & ~right;
        made.inherit(right);
        return made;
    }
    // All signals of this system that are not in the set, SIGKILL and SIGSTOP among them.
    friend constexpr signal_set operator~(signal_set of) noexcept {
        signal_set made = of_bits(~of.numbers_ & detail::standard_bits);
        if (of.has_numbers_above())
            made.numbers_ |= ~of.bits() & detail::realtime_numbers();
        else
            made.offsets_ = ~of.offsets_ & detail::realtime_offsets;
        made.inherit(of);
        return made;
    }
    constexpr signal_set& operator|=(signal_set other) noexcept { return *this = *this | other; }
    constexpr signal_set& operator&=(signal_set other) noexcept { return *this = *this & other; }
    constexpr signal_set& operator-=(signal_set other) noexcept { return *this = *this - other; }

    friend constexpr bool operator==(signal_set left, signal_set right) noexcept {
        if (!left.has_numbers_above() && !right.has_numbers_above())
            return left.numbers_ == right.numbers_ && left.offsets_ == right.offsets_;
        return left.bits() == right.bits();
    }

  private:
    // SIGKILL and SIGSTOP are signals.
    static bool is_valid(int signal) noexcept {
        return signal <= detail::standard_signals || can_be_caught(signal);
    }

    constexpr bool has_numbers_above() const noexcept { return (numbers_ & ~detail::standard_bits) != 0; }
    constexpr void refuse(std::int64_t signal) noexcept {
        if (refused_) return;
        refused_ = true;
        constexpr std::int64_t largest = 0x7fffffff;
        invalid_ = static_cast<int>(signal > largest ? largest : signal < -largest ? -largest : signal);
    }
    constexpr void inherit(signal_set other) noexcept {
        if (!refused_ && other.refused_) refuse(other.invalid_);
    }

    std::uint64_t numbers_ = 0;  // by number
    std::uint64_t offsets_ = 0;  // real-time signals by their distance from SIGRTMIN
    int invalid_ = 0;
    bool refused_ = false;
};

namespace detail {

template <auto Signal>
constexpr bool names_a_member() {
    if constexpr (detail::same<detail::plain<decltype(Signal)>, realtime>)
        return true;
    else
        return Signal >= 1 && Signal <= standard_signals;
}

}  // namespace detail

// The same, checked by the compiler: set_of<SIGUSR1, rt<3>>().
template <auto... Signals>
constexpr signal_set set_of() noexcept {
    static_assert(
        (detail::names_a_member<Signals>() && ...),
        "tocsin: this number is no signal; standard signals are 1 to 31, real-time ones are written rt<N>");
    signal_set made;
    (made.add(Signals), ...);
    return made;
}

// An instruction of the thread itself causes these, and abort().
[[gnu::visibility("hidden")]] inline constexpr signal_set crash_signals{SIGSEGV, SIGBUS, SIGFPE, SIGILL,
                                                                        SIGTRAP, SIGSYS, SIGABRT};
// Somebody asks the program to end.
[[gnu::visibility("hidden")]] inline constexpr signal_set termination_signals{SIGHUP, SIGINT, SIGQUIT,
                                                                              SIGTERM};
// A shell and the terminal stop and continue the program.
[[gnu::visibility("hidden")]] inline constexpr signal_set job_control_signals{SIGTSTP, SIGTTIN, SIGTTOU,
                                                                              SIGSTOP, SIGCONT};
// No program can catch, block or ignore these.
[[gnu::visibility("hidden")]] inline constexpr signal_set uncatchable_signals{SIGKILL, SIGSTOP};
[[gnu::visibility("hidden")]] inline constexpr signal_set catchable_signals = ~uncatchable_signals;
// What may be blocked without harm: a fault whose signal is blocked ends the process without a report.
[[gnu::visibility("hidden")]] inline constexpr signal_set blockable_signals =
    catchable_signals - crash_signals;

// What libc keeps for itself: the numbers between the standard signals and SIGRTMIN, and those behind
// SIGRTMAX. They are for asking only; nothing takes them.
inline signal_set reserved_signals() noexcept {
    return signal_set::of_bits(~detail::standard_bits & ~detail::realtime_numbers());
}

// All signals of this system: 1 to 31, and SIGRTMIN to SIGRTMAX.
inline signal_set valid_signals() noexcept {
    return signal_set::of_bits(detail::standard_bits | detail::realtime_numbers());
}

}  // namespace tocsin
