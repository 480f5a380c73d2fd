// SPDX-License-Identifier: MIT
// What the process had ignored and blocked when it started, as far as that can still be known.
//
// Runs on any ordinary thread. execve(2) hands on which signals are ignored and the caller's mask, and
// nothing else; nobody keeps it, so it is written down the first time that somebody asks. What the library's
// own rows have changed by then is told apart: a row remembers what it found. What anybody else has changed
// is not.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <cstdint>

#include <tocsin/posix/directory.hpp>
#include <tocsin/posix/kernel.hpp>
#include <tocsin/posix/process_status.hpp>
#include <tocsin/posix/registry.hpp>
#include <tocsin/posix/table_lock.hpp>
#include <tocsin/signal_set.hpp>

namespace tocsin::posix {

struct inherited_state {
    std::uint64_t ignored = 0;
    std::uint64_t blocked = 0;
};

namespace detail {

[[gnu::visibility("hidden")]] inline constinit inherited_state inherited_found{};
[[gnu::visibility("hidden")]] inline constinit pthread_once_t inherited_once = PTHREAD_ONCE_INIT;

// What the first claim of a signal found; `live` if nobody claims it.
inline in_signal::disposition found_by_rows(in_signal::table& in, int signal,
                                            in_signal::disposition const& live) noexcept {
    in_signal::link const* oldest = in.slots[signal].newest.load();
    if (oldest == nullptr) return live;
    // a row that ignores has no handler of ours
    bool const entry = live.handler == in_signal::as_handler(in.operate->entry);
    if (!entry && live.handler != oldest->action.handler) return live;
    while (in_signal::link const* const older = oldest->older.load()) oldest = older;
    return oldest->is_claim() ? live : oldest->action;
}

[[gnu::visibility("hidden")]] inline std::uint64_t ignored_now() noexcept {
    look_up_table();
    in_signal::table* const in = in_signal::the_table.load_acquire();
    std::uint64_t ignored = 0;
    for (int const signal : catchable_signals) {
        in_signal::disposition found{};
        if (read_disposition(signal, found) != 0) continue;
        if (in != nullptr) {
            table_lock const locked{*in};
            found = found_by_rows(*in, signal, found);
        }
        if (found.handler == SIG_IGN) ignored |= in_signal::bit_of(signal);
    }
    return ignored;
}

// The main thread's, which the process started with; the calling thread's where there is no /proc. While libc
// starts a thread it blocks everything, even its own signals, which no program can: then we look again.
inline std::uint64_t blocked_now() noexcept {
    patience turn;
    while (in_signal::getpid() != in_signal::gettid()) {
        status_mask field[] = {{"SigBlk:"}};
        if (read_status("/proc/self/status", field, 1)) break;
        bool const in_libc = (field[0].mask & reserved_signals().bits()) != 0;
        if (!in_libc || turn.exhausted(2000)) return field[0].mask;
        turn.wait();
    }
    sigset_t now;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
    return signal_set{now}.bits();
}

[[gnu::visibility("hidden")]] inline void note_inherited() noexcept {
    inherited_found.ignored = ignored_now();
    inherited_found.blocked = blocked_now();
}

}  // namespace detail

// Written down on the first call in this copy of the library; a forked child has its parent's.
[[gnu::visibility("hidden")]] inline inherited_state inherited() noexcept {
    ::pthread_once(&detail::inherited_once, &detail::note_inherited);
    return detail::inherited_found;
}

}  // namespace tocsin::posix
