// SPDX-License-Identifier: MIT
// `dump_on_request here{"/run/server-{pid}.sock"};`: a report of all threads for whoever asks, without a signal.
//
// Runs on any ordinary thread; the reports are written by a thread of the library, which sleeps until somebody asks.
// For programs whose signals belong to somebody else, and for tools that must not send any.
//
//     nc -U /run/server-4711.sock                   prints the report
//     touch /run/server-4711.ask                    with request_file: it is in /run/server-4711.ask.report, complete
//                                                   once the request is gone
//
// The owner of the process and root may ask, and nobody else: the socket has mode 0600 and looks who called; a
// request has to be a regular file of one of the two. Sixteen requests at once are answered as they come, others one
// every 100 ms; the callers wait. A forked child answers nobody. What is left behind by a process that was killed is
// not taken over: say {pid}, or begin the name with '@' (the abstract namespace of unix(7), where nothing is left).
#pragma once

#include <errno.h>

#include <new>

#include <tocsin/error.hpp>
#include <tocsin/in_signal/report_text.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/posix/request_watch.hpp>
#include <tocsin/traits.hpp>

namespace tocsin {

// Words of dump_on_request.
struct request_file_t {};
struct without_signals_t {};
// The path is that of a file: a report is written when it is closed after writing, or moved there. What lies there
// already is no request. Every file that is written in the same directory wakes the library's thread for a moment.
[[gnu::visibility("hidden")]] inline constexpr request_file_t request_file{};
// No disposition is changed and no signal is sent. Threads that wait are shown as always, those that run have no
// frames.
[[gnu::visibility("hidden")]] inline constexpr without_signals_t without_signals{};

namespace detail {

struct request_words {
    posix::request_order order{};

    void take(request_file_t) noexcept { order.by_file = true; }
    void take(without_signals_t) noexcept { order.with_signals = false; }
    template <template <bool, class> class Dump, bool Directed, class Form>
    void take(Dump<Directed, Form> const& report) noexcept {
        order.directed = Directed;
        order.fd = report.target_fd;
        order.report_path = report.target_path;
        order.this_thread_only = report.only_this_thread;
        order.writer = Dump<Directed, Form>::writer;
        order.open_lines = report.open_lines;
    }
};

template <class W>
concept request_word = requires(request_words& words, W const& w) { words.take(w); };

template <class W>
inline constexpr bool is_directed = false;
template <template <bool, class> class Dump, class Form>
inline constexpr bool is_directed<Dump<true, Form>> = true;

}  // namespace detail

// dump_on_request here{path}, {path, dump_threads.as(json)}, {path, request_file, dump_threads.to_file(report)}. {pid}
// in the last part of the path is filled in. this_thread() means the first thread of the process. By the socket each
// caller gets a report of its own; a file's report goes where dump_threads says, or beside the file. Throws
// tocsin::error for an empty path (EINVAL), one that is too long (ENAMETOOLONG), a directory that is not there, a
// socket that is there already (EADDRINUSE) and where a descriptor or a thread is refused; without exceptions it
// prints the error and aborts. The destructor removes the socket, and waits for a report that is being written: a few
// seconds if nobody reads it.
class [[nodiscard]] dump_on_request {
  public:
    template <class... Words>
    explicit dump_on_request(char const* path, Words... words) {
        constexpr bool known = (detail::request_word<Words> && ...);
        static_assert(known, "tocsin: dump_on_request takes a path, request_file, without_signals and dump_threads");
        constexpr bool by_file = detail::one_of<request_file_t, Words...>;
        constexpr bool directed = (detail::is_directed<Words> || ...);
        static_assert(by_file || !directed,
                      "tocsin: a report goes to whoever asks at the socket; say request_file for another place");
        if constexpr (known && (by_file || !directed)) {
            detail::request_words asked;
            asked.order.path = path;
            asked.order.writer = &in_signal::write_report<in_signal::text_form>;
            (asked.take(words), ...);
            open(asked.order);
        }
    }
    ~dump_on_request() {
        watch_->close();
        watch_->release();
    }
    dump_on_request(dump_on_request const&) = delete;
    dump_on_request& operator=(dump_on_request const&) = delete;

    // With {pid} filled in.
    char const* path() const noexcept { return watch_->path; }

  private:
    void open(posix::request_order const& order) {
        watch_ = ::new (std::nothrow) posix::request_watch;
        if (watch_ == nullptr) posix::fail({ENOMEM, "operator new", 0});
        failure const refused = watch_->open(order);
        if (!refused) return;
        watch_->release();
        posix::fail(refused);
    }

    posix::request_watch* watch_ = nullptr;
};

}  // namespace tocsin
