// SPDX-License-Identifier: MIT
// `deadline here{200ms};`: a scope that is to be left in time.
//
// Runs on any ordinary thread. A scope that is still there when its time is up is reported, by default to standard
// error: which deadline, entered when, and the stack of that thread before those of all others. The program goes on.
// No guard is needed; the watcher thread starts with the first deadline of the process. Entering and leaving read the
// clock once and write two words. Time is CLOCK_MONOTONIC; a process that is stopped or traced is not late.
#pragma once

#include <errno.h>

#include <tocsin/duration.hpp>
#include <tocsin/error.hpp>
#include <tocsin/in_signal/report_text.hpp>
#include <tocsin/posix/deadlines.hpp>
#include <tocsin/posix/refusal.hpp>

namespace tocsin {

namespace detail {

// dump_threads, with its words.
template <class R>
concept dump_words = requires(R const& r) {
    r.target_fd;
    r.target_path;
    r.only_this_thread;
};

}  // namespace detail

// Deadlines nest, any number in a thread and in the process. The text of the name, and the descriptor or path of
// dump_threads.to(fd) or .to_file(path), are used as they are and have to stay until the scope ends. The scope's end
// waits for a report about it, but no longer than a second. In a forked child those that were entered before fork are
// not watched. Throws tocsin::error (EINVAL for zero, negative durations and NaN); without exceptions it
// prints the error and aborts.
class [[nodiscard]] deadline {
  public:
    template <class D>
    explicit deadline(D const& period) : deadline{static_cast<char const*>(nullptr), period} {}
    template <class D>
    deadline(char const* name, D const& period)
        : armed_{length(period), {name, nullptr, posix::late_words::join(2, false), text_writer}} {}
    template <class D, detail::dump_words R>
    deadline(D const& period, R const& report) : deadline{static_cast<char const*>(nullptr), period, report} {}
    template <class D, detail::dump_words R>
    deadline(char const* name, D const& period, R const& report)
        : armed_{length(period),
                 {name, report.target_path, posix::late_words::join(report.target_fd, report.only_this_thread),
                  R::writer}} {}
    ~deadline() = default;
    deadline(deadline const&) = delete;
    deadline& operator=(deadline const&) = delete;

  private:
    static constexpr in_signal::report_writer text_writer = &in_signal::write_report<in_signal::text_form>;

    // What is that far away never comes; and the clock and it stay below the mark of a deadline that has passed.
    static constexpr std::uint64_t longest = detail::longest_duration / 2;

    template <class D>
    static std::uint64_t length(D const& period) {
        constexpr bool fits = detail::duration<D>;
        static_assert(fits, "tocsin: a deadline takes a duration; say the unit: deadline here{200ms}");
        std::uint64_t whole = 0;
        if constexpr (fits) whole = detail::whole_units<1'000'000'000>(period).count;
        if (whole == 0) [[unlikely]]
            posix::fail({EINVAL, "deadline(time not above zero)", 0});
        return whole < longest ? whole : longest;
    }

    posix::armed_deadline armed_;
};

}  // namespace tocsin
