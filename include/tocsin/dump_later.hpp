// SPDX-License-Identifier: MIT
// `dump_later(5s)`: a report of all threads when the time is up, unless it is taken back.
//
// Runs on any ordinary thread. What faulthandler.dump_traceback_later does for Python: the same title, "Timeout
// (0:00:05)!" with microseconds if there are any; once or repeated; the process may end with it. Nothing is fed here,
// and there is one in the process: a second call replaces the first. For anything else, watchdog(d) is better. In a
// forked child it is not armed.
#pragma once

#include <errno.h>

#include <tocsin/duration.hpp>
#include <tocsin/error.hpp>
#include <tocsin/in_signal/report_text.hpp>
#include <tocsin/posix/duration_refusal.hpp>
#include <tocsin/posix/later_dump.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/traits.hpp>

namespace tocsin {

// Words of dump_later.
struct repeated_t {};
struct exiting_t {};
[[gnu::visibility("hidden")]] inline constexpr repeated_t repeated{};  // again each time that the time has passed
[[gnu::visibility("hidden")]] inline constexpr exiting_t exiting{};    // the process ends after the report, by _exit(1)

namespace detail {

[[gnu::visibility("hidden")]] inline constexpr posix::duration_words later_words{
    "dump_later: a negative time", "dump_later: no time", "dump_later: not a number", "dump_later: too long a time"};

// What it says, and where to.
inline void take(posix::later_words& asked, repeated_t) noexcept { asked.repeated = true; }
inline void take(posix::later_words& asked, exiting_t) noexcept { asked.exiting = true; }
template <class Dump>
void take(posix::later_words& asked, Dump const& report) noexcept {
    asked.fd = report.target_fd;
    asked.path = report.target_path;
    asked.this_thread_only = report.only_this_thread;
    asked.writer = Dump::writer;
}

template <class W>
concept later_word = one_of<W, repeated_t, exiting_t> || requires(W const& w) {
    w.target_fd;
    w.target_path;
    w.only_this_thread;
};

}  // namespace detail

// dump_later(5s), dump_later(1min, repeated), dump_later(5s, exiting, dump_threads.to(fd)). The time is rounded up to
// microseconds. Throws tocsin::error for zero, negative or too long times and NaN (EINVAL), for a closed descriptor,
// and where a thread is refused; without exceptions it prints the error and aborts.
template <class D, class... Words>
void dump_later(D const& time, Words... words) {
    constexpr bool fits = detail::duration<D>;
    static_assert(fits, "tocsin: dump_later(d) takes a duration; say the unit: dump_later(5s)");
    constexpr bool known = !fits || (detail::later_word<Words> && ...);
    static_assert(known, "tocsin: dump_later(d, words) takes repeated, exiting and dump_threads with its words");
    if constexpr (fits && known) {
        auto const length = detail::whole_units<1'000'000>(time);
        if (failure const refused = posix::refusal(length.is, detail::later_words)) posix::fail(refused);
        posix::later_words asked;
        asked.microseconds = length.count;
        asked.writer = &in_signal::write_report<in_signal::text_form>;
        (detail::take(asked, words), ...);
        if (failure const refused = posix::arm_later_dump(asked)) posix::fail(refused);
    }
}

// Nothing is reported any more; harmless where nothing was asked for. Waits for a report that is being written, but no
// longer than a second: one that is stuck in a full pipe ends by itself, and no longer ends the process.
inline void cancel_dump_later() noexcept { posix::cancel_later_dump(); }

}  // namespace tocsin
