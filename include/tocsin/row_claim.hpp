// SPDX-License-Identifier: MIT
// What a row claims a signal with: what its links do, and what the kernel holds for them.
//
// Runs on any ordinary thread.
#pragma once

#include <new>

#include <tocsin/on.hpp>
#include <tocsin/posix/library.hpp>
#include <tocsin/row_program.hpp>
#include <tocsin/signal_set.hpp>
#include <tocsin/traits.hpp>

namespace tocsin::detail {

// on<SIG…>(default_disposition): nothing but the default.
template <class Row>
inline constexpr bool is_plain_default = false;
template <class Trigger, row_options Options, class R>
    requires same<decltype(some<R>().last_word()), in_signal::finish_by_default>
inline constexpr bool is_plain_default<row<Trigger, Options, R>> = true;

// What a row says to the kernel, for the code that all rows share: the flags of its dispositions, and in bits that are
// none of those the rest.
enum row_word : std::uint32_t {
    word_ignore = 1U << 16,
    word_default = 1U << 17,
    word_unless_ignored = 1U << 18,
    word_ignored = 1U << 19,  // it was, and is to stay so
    words_beside_flags = 15U << 16,
    words_of_child = SA_NOCLDSTOP | SA_NOCLDWAIT,
};

template <class Row>
constexpr std::uint32_t words_of_row() noexcept {
    std::uint32_t words = SA_SIGINFO | SA_ONSTACK;
    if (Row::restarts) words |= SA_RESTART;
    if (row_words<Row>::alone) words |= word_ignore;
    if (is_plain_default<Row>) words |= word_default;
    if (Row::options.without_stops) words |= SA_NOCLDSTOP;
    if (Row::options.without_zombies) words |= SA_NOCLDWAIT;
    if (row_words<Row>::respects_ignore) words |= word_unless_ignored;
    return words;
}

// The same for one of its signals; a constant where the compiler knows the signal. What the words behind a row on
// SIGCHLD say counts for that signal only. SIGPIPE and SIGXFSZ are ignored by a handler, which exec resets.
[[gnu::always_inline]] constexpr std::uint32_t words_of_link(std::uint32_t words, int signal) noexcept {
    if (signal != SIGCHLD) words &= ~static_cast<std::uint32_t>(words_of_child);
    if (is_fault(signal)) words |= SA_NODEFER;
    if (signal == SIGPIPE || signal == SIGXFSZ) words &= ~static_cast<std::uint32_t>(word_ignore);
    return words;
}

// What a link of the row does.
template <class Row, class Program>
constexpr auto link_runner() noexcept {
    if constexpr (row_words<Row>::alone)
        return &in_signal::run_ignore;
    else if constexpr (is_plain_default<Row>)
        return &in_signal::run_default;
    else
        return &in_signal::run_program<Program>;
}

using link_function = in_signal::verdict (*)(in_signal::link&, in_signal::arrival&) noexcept;

// Apart, so that each row is a call.
[[gnu::visibility("hidden"), gnu::noinline, gnu::cold]] inline void prepare_link(
    void* memory, link_function run, void* program, int number, std::uint32_t words) noexcept {
    auto* const made = ::new (memory) in_signal::row_link{};
    made->run = run;
    made->program = program;
    made->number = number;
    made->words = words;
}

// What the kernel holds for a link. The reserved signal waits too, except for faults: opening a signal (see
// `run_reserved`) is for the mask that a handler returns to.
inline in_signal::disposition kernel_action(in_signal::table const& in, std::uint32_t words) noexcept {
    if ((words & word_ignored) != 0) return {SIG_IGN, 0, nullptr, 0};
    if ((words & (word_ignore | word_default)) != 0)
        return {(words & word_default) != 0 ? SIG_DFL : SIG_IGN, words & words_of_child, nullptr, 0};
    in_signal::kernel_set const mask = (words & SA_NODEFER) != 0 ? posix::all_but_faults(in) : ~posix::fault_bits;
    return {in_signal::as_handler(in.operate->entry), words & ~words_beside_flags, nullptr, mask};
}

// Whether a signal is ignored, and by no row: then whoever started the program, or the program itself, wants it so.
inline bool is_ignored_by_others(in_signal::table const& in, int signal) noexcept {
    in_signal::link const* const newest = in.slots[signal].newest.load();
    if (newest != nullptr && newest->is_claim()) return false;
    in_signal::disposition live{};
    return posix::read_disposition(signal, live) == 0 && live.handler == SIG_IGN;
}

// Whether somebody else's disposition is where ours should be, or that of a guard that came later. As in registry.hpp.
inline bool has_been_taken(in_signal::table const& in, int signal, in_signal::disposition& live) noexcept {
    if (posix::read_disposition(signal, live) != 0) return false;
    return !posix::detail::is_ours(in, in.slots[signal].newest.load(), live);
}

// Puts back what the newest link had in the kernel. For a default or an ignore, which is what loops leave behind that
// have given a signal up, and for a handler that is in the chain already, nothing else is needed. Another handler has
// to be linked below: false, and nothing done.
inline bool put_back_in_kernel(in_signal::table& in, int signal, in_signal::link const& claim) noexcept {
    posix::table_lock const locked{in};
    in_signal::disposition live{};
    if (!has_been_taken(in, signal, live)) return true;
    in_signal::link const* const newest = in.slots[signal].newest.load();
    in_signal::link const* const below = claim.older.load();
    bool const handler = live.handler != SIG_DFL && live.handler != SIG_IGN;
    bool const known = below != nullptr && !below->is_claim() && below->action.handler == live.handler;
    if (handler && newest == &claim && !known) return false;
    if (newest != nullptr && newest->is_claim()) posix::change_disposition(signal, newest->action, live);
    return true;
}

inline failure claim_one(in_signal::table& in, in_signal::row_link& of) noexcept {
    int const number = of.number;
    if (number == in.reserved_signal.load()) return {EBUSY, "sigaction", number};
    of.action = kernel_action(in, of.words);
    return posix::claim_link(in, number, of);
}

// The links of a guard's rows, in their order. Those before `claimed` are.
struct row_links {
    in_signal::row_link* first;
    unsigned count;
    unsigned claimed;

    // The claim stays, so that a later guard's row finds below it what this one found.
    void leave_ignored(in_signal::table& in) noexcept {
        for (unsigned i = 0; i < count; ++i) {
            bool const asks = (first[i].words & word_unless_ignored) != 0 && can_be_caught(first[i].number);
            if (!asks || !is_ignored_by_others(in, first[i].number)) continue;
            first[i].run = &in_signal::run_ignore;
            first[i].words |= word_ignored;
        }
    }

    // For rows whose numbers are not known to the compiler.
    failure check_numbers() const noexcept {
        for (unsigned i = 0; i < count; ++i)
            if (!can_be_caught(first[i].number)) return {EINVAL, "sigaction", first[i].number};
        return {};
    }

    [[gnu::cold]] failure claim(in_signal::table& in) noexcept {
        for (; claimed < count; ++claimed)
            if (failure const refused = claim_one(in, first[claimed])) return refused;
        return {};
    }

    [[gnu::cold]] void withdraw(in_signal::table& in) noexcept {
        while (claimed != 0) {
            in_signal::row_link& each = first[--claimed];
            if (!each.lost) in.operate->withdraw(in, each.number, each);
        }
    }

    // The signals that others have taken since they were claimed.
    [[gnu::cold]] std::uint64_t taken(in_signal::table const& in) const noexcept {
        std::uint64_t found = 0;
        in_signal::disposition live{};
        for (unsigned i = 0; i < claimed; ++i)
            if (first[i].lost || has_been_taken(in, first[i].number, live)) found |= in_signal::bit_of(first[i].number);
        return found;
    }

    [[gnu::cold]] failure take_back(in_signal::table& in, std::uint64_t signals) noexcept {
        for (unsigned i = 0; i < claimed; ++i) {
            in_signal::row_link& each = first[i];
            if ((signals & in_signal::bit_of(each.number)) == 0) continue;
            if (!each.lost) {
                if (put_back_in_kernel(in, each.number, each)) continue;
                in.operate->withdraw(in, each.number, each);
                each.lost = true;
            }
            if (failure const refused = posix::claim_link(in, each.number, each)) return refused;
            each.lost = false;
        }
        return {};
    }

    // The places of an inbox that the links from `begin` to `end` have.
    std::uint64_t places(unsigned begin, unsigned end) const noexcept {
        std::uint64_t bits = 0;
        for (unsigned i = begin; i < end; ++i)
            if (first[i].number >= 1 && first[i].number <= last_signal) bits |= in_signal::bit_of(first[i].number);
        return bits;
    }
};

}  // namespace tocsin::detail
