// SPDX-License-Identifier: MIT
// What a row claims a signal with: what its links do, and what the kernel holds for them.
//
// Runs on any ordinary thread.
#pragma once

#include <tocsin/on.hpp>
#include <tocsin/posix/library.hpp>
#include <tocsin/row_program.hpp>
#include <tocsin/signal_set.hpp>

namespace tocsin::detail {

// on<SIG…>(default_disposition): nothing but the default.
template <class Row>
inline constexpr bool is_plain_default = false;
template <class Trigger, row_options Options, class R>
    requires requires(R r) {
        { r.last_word() } -> std::same_as<in_signal::finish_by_default>;
    }
inline constexpr bool is_plain_default<row<Trigger, Options, R>> = true;

// What a link of the row does, and what the kernel holds for it.
template <class Row, class Link>
constexpr auto link_runner() noexcept {
    if constexpr (row_words<Row>::alone)
        return &in_signal::run_ignore;
    else if constexpr (is_plain_default<Row>)
        return &in_signal::run_default;
    else
        return &Link::run_it;
}

// What the words behind a row on SIGCHLD say to the kernel.
template <class Row>
constexpr unsigned long child_flags(int signal) noexcept {
    if (signal != SIGCHLD) return 0;
    return (Row::options.without_stops ? static_cast<unsigned long>(SA_NOCLDSTOP) : 0UL) |
           (Row::options.without_zombies ? static_cast<unsigned long>(SA_NOCLDWAIT) : 0UL);
}

template <class Row>
in_signal::disposition kernel_action(in_signal::table const& in, int signal) noexcept {
    bool const needs_handler = !row_words<Row>::alone || signal == SIGPIPE || signal == SIGXFSZ;
    unsigned long const of_child = child_flags<Row>(signal);
    if (is_plain_default<Row>) return {SIG_DFL, of_child, nullptr, 0};
    if (!needs_handler) return {SIG_IGN, of_child, nullptr, 0};
    unsigned long const flags = SA_SIGINFO | SA_ONSTACK | (Row::restarts ? SA_RESTART : 0UL) | of_child |
                                (is_fault(signal) ? static_cast<unsigned long>(SA_NODEFER) : 0UL);
    // The reserved signal waits too: opening a signal (see `run_reserved`) is for the mask that a handler returns to.
    in_signal::kernel_set const all = posix::all_but_faults(in);
    int const reserved = in.reserved_signal.load();
    bool const wait = reserved != 0 && !is_fault(signal);
    return {in_signal::as_handler(in.operate->entry), flags, nullptr, wait ? all | in_signal::bit_of(reserved) : all};
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

}  // namespace tocsin::detail
