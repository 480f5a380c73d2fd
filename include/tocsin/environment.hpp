// SPDX-License-Identifier: MIT
// `from_environment()`: turns on what the variable TOCSIN says, for the rest of the process.
//
//     TOCSIN="crash,quit,to=crash-{pid}.txt" ./server
//
// An opt-in header, not in <tocsin/tocsin.hpp>. The words, each once, with commas between them:
//
//     crash           a fault is reported, as on_crash(dump_threads) does; signals=SEGV+BUS narrows it to these
//     quit, on=USR1   a report on SIGQUIT, or on another signal (up to 8); the process goes on
//     watchdog=30s    a report every 30 s: nobody feeds a program that knows nothing of it, so that the report is what
//                     tells a hang; ms, s, min and h are known
//     later=30s       one report after 30 s; with `exit`, also behind watchdog, the process then ends by _exit(1)
//     to=FILE         a new file for each report, {pid} and {time} filled in; else to=fd:N, to=stderr
//     format=json     or text, collapsed, markup, faulthandler
//     threads=this    only the thread that crashed, or took the signal
//     registers=off   none in the report of a crash
//     doctor          the self-check, to standard error, when all else is on
//
// A program that has set-user-id or set-group-id bits, or file capabilities, does not look (secure_getenv(3)).
#pragma once

#include <stdlib.h>
#include <string.h>

#include <tocsin/chain.hpp>
#include <tocsin/doctor.hpp>
#include <tocsin/forms.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/posix/later_dump.hpp>
#include <tocsin/posix/settings.hpp>
#include <tocsin/traits.hpp>

namespace tocsin::in_signal {

// The form that is known when the process has started. The one who chooses it does so before anything can report.
struct chosen_form {};
[[gnu::visibility("hidden")]] inline constinit report_writer chosen_writer = nullptr;

template <>
[[gnu::visibility("hidden")]] inline int write_report<chosen_form>(table& in, report_desk& desk,
                                                                   report_order const& order,
                                                                   int fd) noexcept {
    return chosen_writer(in, desk, order, fd);
}

}  // namespace tocsin::in_signal

namespace tocsin::detail {

using chosen_dump = dump_threads_t<true, in_signal::chosen_form>;

// What the next of the triggers below is for: rows have their signals as types, and these are known later.
[[gnu::visibility("hidden")]] inline constinit int chosen_number = 0;

struct on_chosen_signal : on_signals<SIGUSR1> {
    static void numbers(int (&out)[1]) noexcept { out[0] = chosen_number; }
};
struct on_chosen_fault : on_faults<SIGSEGV> {
    static void numbers(int (&out)[1]) noexcept { out[0] = chosen_number; }
};

using chosen_crash_row = decltype(on_crash(detail::some<chosen_dump>()));
using chosen_fault_row = row<on_chosen_fault, row_options{}, chosen_dump>;
// With a last word, so that the report is written by the handler: without a thread of our own in a program that does
// not expect one, and in a forked child too. What was there before the row is called afterwards, if it is a handler.
using chosen_signal_row = row<on_chosen_signal, row_options{}, chosen_dump, chain_t>;

// In static storage, and never destroyed: a crash of the program's last destructor is one, too.
template <class Guard>
struct lasting {
    alignas(Guard) unsigned char memory[sizeof(Guard)];

    // 0 or an errno.
    template <class Row>
    int install(Row of) noexcept {
        int refused = 0;
        ::new (static_cast<void*>(memory)) Guard{refused, detail::moved(of)};
        return refused;
    }
};

struct environment_guards {
    lasting<guard<chosen_crash_row>> crash;
    lasting<guard<chosen_fault_row>> faults[standard_signals + 1];
    lasting<guard<chosen_signal_row>> signals[posix::most_settings_signals];
};
[[gnu::visibility("hidden")]] inline constinit environment_guards from_environment_guards{};

enum class environment_state : unsigned char { unread, off, on };
[[gnu::visibility("hidden")]] inline constinit environment_state environment_is = environment_state::unread;

constexpr in_signal::report_writer writer_of(posix::settings_form form) noexcept {
    switch (form) {
        case posix::settings_form::json:
            return &in_signal::write_report<in_signal::json_form>;
        case posix::settings_form::collapsed:
            return &in_signal::write_report<in_signal::collapsed_form>;
        case posix::settings_form::markup:
            return &in_signal::write_report<in_signal::markup_form>;
        case posix::settings_form::faulthandler:
            return &in_signal::write_report<in_signal::faulthandler_form>;
        case posix::settings_form::text:
            break;
    }
    return &in_signal::write_report<in_signal::text_form>;
}

// What the settings say, word by word. A word that the system refuses is told of, and the others are followed.
class environment_rows {
  public:
    explicit environment_rows(posix::settings const& said) noexcept : said_{said} {}

    bool turn_on() noexcept {
        in_signal::chosen_writer = writer_of(said_.form);
        if (said_.crash) turn_on_crash();
        for (unsigned i = 0; i < said_.signal_count; ++i) {
            chosen_number = said_.signals[i];
            chosen_signal_row on_signal{{}, make_list(dump(), chain)};
            note(name(said_.signals[i]).c_str(),
                 from_environment_guards.signals[i].install(detail::moved(on_signal)));
        }
        if (said_.microseconds != 0) note(said_.repeated ? "watchdog" : "later", arm());
        if (said_.doctor) doctor(2);
        return any_ || said_.doctor;
    }

  private:
    chosen_dump dump() const noexcept {
        return {said_.fd, path(), said_.this_thread_only, said_.with_registers};
    }
    char const* path() const noexcept { return said_.path[0] != '\0' ? said_.path : nullptr; }

    void turn_on_crash() noexcept {
        if (said_.faults == 0) return note("crash", from_environment_guards.crash.install(on_crash(dump())));
        for (int signal = 1; signal <= standard_signals; ++signal) {
            if ((said_.faults >> signal & 1) == 0) continue;
            chosen_number = signal;
            chosen_fault_row on_fault{{}, make_list(dump())};
            note("crash", from_environment_guards.faults[signal].install(detail::moved(on_fault)));
        }
    }

    int arm() const noexcept {
        posix::later_words asked;
        asked.microseconds = said_.microseconds;
        asked.repeated = said_.repeated;
        asked.exiting = said_.exiting;
        asked.this_thread_only = said_.this_thread_only;
        asked.writer = in_signal::chosen_writer;
        asked.fd = said_.fd;
        asked.path = path();
        return posix::arm_later_dump(asked).errno_code;
    }

    void note(char const* word, int refused) noexcept {
        if (refused == 0) {
            any_ = true;
            return;
        }
        in_signal::fixed_line<1400> line;
        line.text("tocsin: TOCSIN: ").text(word).text(" is not turned on: ").text(::strerror(refused));
        bool const of_file = path() != nullptr && refused != EBUSY && refused != ENOMEM;
        if (of_file) line.text(", of the directory of ").quoted(path(), strlen(path()), 1024);
        say(line);
    }

  public:
    // One line on standard error, which may be a pipe that nobody reads.
    static void say(in_signal::line& said) noexcept {
        said.end();
        in_signal::output{2, in_signal::write_patience}.write(said.data(), said.size());
    }

  private:
    posix::settings const& said_;
    bool any_ = false;
};

[[gnu::visibility("hidden")]] inline bool follow(char const* text) noexcept {
    posix::settings said;
    if (posix::settings_error const wrong = posix::parse_settings(text, said)) {
        in_signal::fixed_line<700> line;
        line.text("tocsin: ");
        posix::append_settings_error(line, text, wrong);
        environment_rows::say(line);
        return false;
    }
    return environment_rows{said}.turn_on();
}

}  // namespace tocsin::detail

namespace tocsin {

// Reads TOCSIN and follows it. True if anything is on from now on; unset or empty, it does nothing and answers false.
// Text that is wrong turns nothing on, and is told of in one line on standard error; so is a word that the system
// refuses. It throws nothing, and the program runs on in any case. For the start of main, once; a second call changes
// nothing and answers the same. What the program's own guards claim later comes first, and theirs alone is followed.
// Runs on any ordinary thread, one at a time; errno is kept.
inline bool from_environment() noexcept {
    if (detail::environment_is == detail::environment_state::unread) {
        int const kept = errno;
        char const* const text = ::secure_getenv("TOCSIN");
        bool const on = text != nullptr && detail::follow(text);
        detail::environment_is = on ? detail::environment_state::on : detail::environment_state::off;
        errno = kept;
    }
    return detail::environment_is == detail::environment_state::on;
}

}  // namespace tocsin
