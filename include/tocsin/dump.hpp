// SPDX-License-Identifier: MIT
// `dump_threads`: a report of where every thread stands; and `dump(fd)`, the same as a function.
#pragma once

#include <new>

#include <tocsin/in_signal/report_text.hpp>
#include <tocsin/on.hpp>
#include <tocsin/posix/reporter.hpp>
#include <tocsin/traits.hpp>

namespace tocsin {

struct dump_word {};

// The argument of `as`: see forms.hpp.
template <class Form>
struct form_word {
    using form = Form;
};

namespace detail {

template <class W>
concept form_of_report = requires { typename W::form; } && same<W, form_word<typename W::form>>;

}  // namespace detail

// The reaction, with its words: `to(fd)`, `to_file(path)`, `this_thread()`, `as(form)`, `without_registers()`.
template <bool Directed, class Form>
struct dump_threads_t {
    using word = dump_word;
    static constexpr stage where = stage::handler;
    static constexpr bool on_fault = true;
    static constexpr bool on_hang = true;
    static constexpr bool captures = true;
    static constexpr in_signal::report_writer writer = &in_signal::write_report<Form>;

    constexpr dump_threads_t() noexcept = default;
    constexpr dump_threads_t(int fd, char const* path, bool this_thread_only, bool registers) noexcept
        : target_fd{fd}, target_path{path}, only_this_thread{this_thread_only}, with_registers{registers} {}
    // The words are copied, what a guard has opened with them is not.
    constexpr dump_threads_t(dump_threads_t const& other) noexcept
        : dump_threads_t{other.target_fd, other.target_path, other.only_this_thread, other.with_registers} {
        open_lines = other.open_lines;
    }
    dump_threads_t& operator=(dump_threads_t const&) = delete;
    constexpr ~dump_threads_t() { delete job; }

    // To this descriptor. The guard takes a duplicate; a closed one is refused.
    constexpr dump_threads_t<true, Form> to(int fd) const noexcept {
        static_assert(!Directed, "tocsin: this report has its place already; say to(fd) or to_file(path) once");
        return changed<true, Form>(fd, nullptr, only_this_thread, with_registers);
    }
    // To a new file for each report, readable by its owner only. {pid} and {time} (UTC) in the name are filled in. The
    // directory is opened with the guard and has to exist; a name that is taken gets a number behind it.
    constexpr dump_threads_t<true, Form> to_file(char const* path) const noexcept {
        static_assert(!Directed, "tocsin: this report has its place already; say to(fd) or to_file(path) once");
        return changed<true, Form>(2, path, only_this_thread, with_registers);
    }
    // Only the thread that took the signal.
    constexpr dump_threads_t this_thread() const noexcept {
        return changed<Directed, Form>(target_fd, target_path, true, with_registers);
    }
    // In another form: as(json), as(collapsed), as(markup), as(faulthandler) of forms.hpp.
    template <class Word>
    constexpr auto as(Word) const noexcept {
        constexpr bool known = detail::form_of_report<Word>;
        static_assert(known, "tocsin: as() takes json, collapsed, markup or faulthandler");
        using other = typename Word::form;
        return changed<Directed, other>(target_fd, target_path, only_this_thread, with_registers);
    }
    // With source lines behind the report: with(lines) of lines.hpp.
    template <class Word>
    constexpr dump_threads_t with(Word) const noexcept {
        constexpr bool known = requires(in_signal::line_place& place) { Word::open(place); };
        static_assert(known, "tocsin: with() takes lines, of <tocsin/lines.hpp>");
        dump_threads_t more{*this};
        more.open_lines = &Word::open;
        return more;
    }
    // Registers hold what the program was working on; a crash report shows those of the thread that crashed.
    constexpr dump_threads_t without_registers() const noexcept {
        return changed<Directed, Form>(target_fd, target_path, only_this_thread, false);
    }

    failure open(posix::opening const& to) noexcept {
        job = ::new (std::nothrow) posix::report_job;
        if (job == nullptr) return {ENOMEM, "operator new", 0};
        request = &job->request;
        target = &job->target;
        job->this_thread_only = only_this_thread;
        job->writer = writer;
        failure refused = job->open(to, target_fd, target_path);
        if (!refused && open_lines != nullptr) refused = open_lines(in_signal::desk_of(*to.in)->lines);
        return refused;
    }
    void open_on_crash(posix::opening const& to) noexcept { job->open_on_crash(to); }
    failure start() noexcept { return job->start(); }
    failure rearm() noexcept { return job->rearm(); }
    void close() noexcept {
        if (job != nullptr) job->close();
    }

    template <bool AtOnce>
    auto part() const noexcept {
        if constexpr (AtOnce)
            return in_signal::report_now<Form>{&target, only_this_thread, with_registers};
        else
            return in_signal::ask_for_report{&request};
    }

    // Public, so that the words can be asked about: provides<decltype(signals), dump_threads>.
    int target_fd = 2;
    char const* target_path = nullptr;
    bool only_this_thread = false;
    bool with_registers = true;
    failure (*open_lines)(in_signal::line_place&) noexcept = nullptr;
    posix::report_job* job = nullptr;  // from the opening of the guard on
    in_signal::report_request* request = nullptr;
    in_signal::report_target* target = nullptr;

  private:
    template <bool To, class As>
    constexpr dump_threads_t<To, As> changed(int fd, char const* path, bool alone, bool registers) const noexcept {
        dump_threads_t<To, As> other{fd, path, alone, registers};
        other.open_lines = open_lines;
        return other;
    }
};

// Reports the stack of every thread, by default to standard error. Under on_crash, under a watchdog and before a last
// word it is written at once; otherwise the library's reporter thread writes it, and the process goes on.
[[gnu::visibility("hidden")]] inline constexpr dump_threads_t<false, in_signal::text_form> dump_threads{};

// Writes the same report now, on the calling thread, which is shown first. Answers 0, or the errno of what was refused
// or could not be written. Runs on any ordinary thread; once it has been called in the process, or a guard with a
// dump_threads row lives, it is async-signal-safe as well. It waits no longer than a few seconds for threads that do
// not answer and for a descriptor that takes nothing.
[[gnu::noinline]] inline int dump(int fd) noexcept {
    int const kept = errno;
    in_signal::registers const from = in_signal::here();
    int const refused = posix::report_on_request(fd, from, &in_signal::write_report<in_signal::text_form>);
    errno = kept;
    return refused;
}

}  // namespace tocsin
