// SPDX-License-Identifier: MIT
// Reports of a process that goes on, and what every report needs beforehand.
//
// Runs on any ordinary thread. The reporter is one of the library's threads: the handler only asks, and the program is
// held up for as long as its threads take to store their own frames.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>

#include <tocsin/in_signal/dump.hpp>
#include <tocsin/posix/inbox.hpp>
#include <tocsin/posix/last_words.hpp>
#include <tocsin/posix/module_map.hpp>
#include <tocsin/posix/owned_source.hpp>
#include <tocsin/posix/reserved.hpp>

// Defined by the source of the dependency tocsin-lines, if the program links it. Answers an errno, or 0.
extern "C" [[gnu::weak]] int tocsin_open_lines(tocsin::in_signal::line_place&) noexcept;

namespace tocsin::posix {

using in_signal::report_desk;

namespace detail {

inline bool answer_on_this_thread(in_signal::arrival& a) noexcept {
    report_desk* const desk = in_signal::desk_of(*a.in);
    return desk != nullptr && a.context != nullptr && in_signal::answer_capture(desk->captures, a);
}

}  // namespace detail

// Makes the memory of reports, once in the process, and lets the reserved signal answer captures.
inline failure provide_desk(table& in) noexcept {
    if (in_signal::desk_of(in) == nullptr) {
        void* const memory = ::mmap(nullptr, sizeof(report_desk), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                                    -1, 0);
        if (memory == MAP_FAILED) return {errno, "mmap", 0};
        detail::pin_this_object();
        static_cast<report_desk*>(memory)->ends_a_step = &in_signal::ends_a_step;
        void* expected = nullptr;
        if (!__atomic_compare_exchange_n(&in.capture_area, &expected, memory, false, __ATOMIC_SEQ_CST,
                                         __ATOMIC_SEQ_CST))
            ::munmap(memory, sizeof(report_desk));
        report_desk& desk = *in_signal::desk_of(in);
        static_cast<void>(::readlink("/proc/self/exe", desk.program, sizeof desk.program - 1) < 0);
    }
    provide_modules();
    if (&tocsin_open_lines != nullptr)
        if (int const refused = tocsin_open_lines(in_signal::desk_of(in)->lines)) return {refused, "lines", 0};
    if (in.capture.load() == nullptr) {
        detail::pin_this_object();
        in.capture.store(&detail::answer_on_this_thread);
    }
    return {};
}

// A descriptor of our own, out of the way of the low numbers that programs reuse.
inline failure duplicate(int fd, int& copy) noexcept {
    copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 100);
    if (copy < 0 && errno == EINVAL) copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);  // a low RLIMIT_NOFILE
    if (copy >= 0) return {};
    if (errno != EBADF) return {errno, "fcntl(F_DUPFD_CLOEXEC)", 0};
    return {EBADF, fd == STDERR_FILENO ? "dump_threads to standard error" : "dump_threads.to(fd)", 0};
}

// One whose identity cannot be read would never be used, nor closed.
inline failure keep(in_signal::kept_descriptor& to, int opened) noexcept {
    if (to.keep(opened)) return {};
    ::close(opened);
    return {EIO, "fstat", 0};
}

// Takes the directory of `path` and checks the pattern of its file name.
inline failure open_directory(char const* path, in_signal::report_target& target) noexcept {
    char const* file = path;
    for (char const* at = path; *at != '\0'; ++at)
        if (*at == '/') file = at + 1;
    std::size_t const size = __builtin_strlen(file);
    std::size_t const directory_size = static_cast<std::size_t>(file - path);
    char directory[4096] = ".";
    if (size == 0) return {EINVAL, "dump_threads.to_file", 0};
    if (size > in_signal::longest_file_name || directory_size >= sizeof directory)
        return {ENAMETOOLONG, "dump_threads.to_file", 0};
    for (char const* at = file; (at = __builtin_strchr(at, '{')) != nullptr; ++at)
        if (__builtin_strncmp(at, "{pid}", 5) != 0 && __builtin_strncmp(at, "{time}", 6) != 0)
            return {EINVAL, "dump_threads.to_file", 0};
    if (directory_size != 0) {
        __builtin_memcpy(directory, path, directory_size);
        directory[directory_size] = '\0';
    }
    __builtin_memcpy(target.file, file, size + 1);
    int const opened = ::open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (opened < 0) return {errno, "open", 0};
    return keep(target.directory, opened);
}

// What a `dump_threads` of a row keeps while the guard lives.
class report_job : owned_source {
  public:
    in_signal::report_target target;
    in_signal::report_request request{};
    bool this_thread_only = false;
    in_signal::report_writer writer = nullptr;

    ~report_job() { close(); }

    failure open(opening const& to, int fd, char const* path) noexcept {
        in_ = to.in;
        belong_to(to);
        then = [](source& self) noexcept { static_cast<report_job&>(self).run(); };
        request.process.store(in_signal::getpid());
        request.thread = &in_->services[in_signal::reporter];
        if (failure const refused = provide_desk(*in_)) return refused;
        int copy = -1;
        failure refused = duplicate(fd, copy);
        if (!refused) refused = posix::keep(target.out, copy);
        if (path != nullptr) refused = open_directory(path, target);  // a daemon may have no standard error
        if (refused) return refused;
        target.writer = reinterpret_cast<void const*>(writer);
        target.reserve.open();
        list_source(*in_, in_signal::reporter, *this);  // of rows that write at once too: the self-check looks there
        listed_ = true;
        return {};
    }
    // For crash rows: an exception that nobody catches is told before it ends the process.
    void open_on_crash(opening const& to) noexcept { uncaught_.open(*to.in, *in_signal::desk_of(*to.in)); }
    // For rows that leave the writing to the reporter.
    failure start() noexcept {
        started_ = true;
        return start_thread();
    }
    void close() noexcept {
        if (listed_) remove_source(*in_, in_signal::reporter, *this);
        listed_ = started_ = false;
        uncaught_.close();
        close_descriptors();  // a guard that could not be installed stays, and has none
    }
    failure rearm() noexcept {
        request.record.arrivals.store(0);
        request.record.state.store(in_signal::record_empty);
        request.process.store(in_signal::getpid());
        return started_ ? start_thread() : failure{};
    }

  private:
    failure start_thread() noexcept {
        detail::pin_this_object();
        return start_service(*in_, in_signal::reporter, &detail::serve<in_signal::reporter>);
    }
    void close_descriptors() noexcept {
        target.reserve.close();
        give_back(target.out);
        give_back(target.directory);
    }
    static void give_back(in_signal::kept_descriptor& kept) noexcept {
        if (kept.is_same()) ::close(kept.fd);
        kept.fd = -1;
    }

    void run() noexcept {
        if (request.record.arrivals.load() != 0) keep_pace();
        delivery what;
        if (!detail::take_record(request.record, what)) return;
        siginfo_t info{};
        info.si_code = what.code();
        info.si_pid = what.pid();
        info.si_uid = what.uid();
        in_signal::report_order order;
        order.why = in_signal::occasion::signal;
        order.this_thread_only = this_thread_only;
        order.signal = what.signal();
        order.info = &info;
        order.thread = request.taken_on.load();
        order.merged = what.merged();
        report_desk& desk = *in_signal::desk_of(*in_);
        in_signal::report_turn const turn{desk};
        if (!turn.taken()) return in_signal::say(target.usable_fd(), "tocsin: another report does not end\n");
        if (turn.inherited()) in_signal::forget_report(desk);
        in_signal::write_to_target(*in_, desk, order, target, writer);
    }

    // Whoever may send signals to this process is not to keep it busy with reports: signals that come faster are
    // waited for a little, and are then one report, which counts them.
    void keep_pace() noexcept {
        std::uint64_t const now = in_signal::monotonic();
        std::uint64_t const earned = (now - last_earned_) / pace;
        if (earned != 0) last_earned_ = now;
        allowed_ = earned < burst - allowed_ ? allowed_ + static_cast<unsigned>(earned) : burst;
        if (allowed_ != 0) {
            --allowed_;
            return;
        }
        timespec const moment{0, static_cast<long>(pace)};
        in_signal::system_call(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, in_signal::as_word(&moment), 0);
        last_earned_ = in_signal::monotonic();
    }

    static constexpr std::uint64_t pace = 100'000'000;  // nanoseconds for one report
    static constexpr unsigned burst = 16;

    table* in_ = nullptr;
    bool listed_ = false;
    bool started_ = false;
    unsigned allowed_ = burst;
    std::uint64_t last_earned_ = 0;
    terminate_words uncaught_;
};

// Lets the other threads answer from now on, for a report without a guard.
[[gnu::visibility("hidden")]] inline failure provide_captures(table& in) noexcept {
    if (failure const refused = provide_desk(in)) return refused;
    if (in_signal::is_answered(in)) return {};  // by a guard's claim, which takes a turn before it goes
    static reserved_claim for_ever;
    detail::pin_this_object();
    report_desk& desk = *in_signal::desk_of(in);
    if (!desk.claimed.replace(0, 1)) return {};
    failure const refused = for_ever.open(in, 0);
    if (refused) desk.claimed.store(0);
    return refused;
}

// Writes a report for a thread that is in no handler of the library's. Answers 0 or an errno.
inline int report_on_request(int fd, in_signal::registers const& from, in_signal::report_writer writer) noexcept {
    table* in = nullptr;
    if (failure const refused = find_table(in)) return refused.errno_code;
    if (failure const refused = provide_captures(*in)) return refused.errno_code;
    report_desk& desk = *in_signal::desk_of(*in);
    in_signal::report_turn const turn{desk};
    if (!turn.taken()) return EBUSY;
    if (turn.inherited()) in_signal::forget_report(desk);
    in_signal::report_order order;
    order.from = &from;
    return in_signal::write_in_steps(*in, desk, order, fd, writer);
}

}  // namespace tocsin::posix
