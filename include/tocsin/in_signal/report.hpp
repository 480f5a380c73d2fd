// SPDX-License-Identifier: MIT
// The report: why it is written, and where every thread stands.
//
// Runs in the handler of a crash, and on ordinary threads for a report of a process that goes on. One at a time in
// the process. Its memory is there before it is needed; its stacks are captured, named and written one after another,
// so that a report that is cut short by a full pipe or a fault of its own says what it has said.
#pragma once

#include <tocsin/delivery.hpp>
#include <tocsin/in_signal/capture.hpp>
#include <tocsin/in_signal/crash_note.hpp>
#include <tocsin/in_signal/describe.hpp>
#include <tocsin/in_signal/names.hpp>
#include <tocsin/in_signal/report_turn.hpp>
#include <tocsin/in_signal/write.hpp>
#include <tocsin/signal.hpp>

namespace tocsin::in_signal {

inline constexpr std::uint64_t write_patience = 3'000'000'000;    // for all writing of a report, in ns
inline constexpr std::uint64_t capture_patience = 200'000'000;    // for one thread
inline constexpr std::uint64_t capture_budget = 2'000'000'000;    // for all threads that do not answer
inline constexpr std::uint64_t naming_budget = 2'000'000'000;     // for all names

enum class occasion : unsigned char { crash, signal, hang, request };

// What to report.
struct report_order {
    occasion why = occasion::request;
    bool this_thread_only = false;
    int signal = 0;
    int thread = 0;                  // the one to show first; 0 for none
    siginfo_t const* info = nullptr;
    ucontext_t const* context = nullptr;  // of the calling thread, if it is the one to show first
    registers const* from = nullptr;      // the same for a thread that is in no handler
    std::uint64_t hang = 0;          // nanoseconds that nobody fed the watchdog
    char const* watchdog = nullptr;  // its name, if it has one
    char const* title = nullptr;     // the whole first line, if it is not one of those below
    std::uint64_t merged = 1;
};

// The signal that is being reported, in case the report crashes too.
struct first_crash {
    int signal;  // 0: there is none
    bool has_context;
    siginfo_t info;
    mcontext_t registers;
    kernel_set mask;
};

// The memory of reports, one for the process.
struct report_desk : report_seat {
    atomic<std::uint32_t> claimed;  // the reserved signal is claimed for good
    int fd;                         // of the report that is being written
    first_crash first;
    crash_board waiting;
    capture_desk captures;
    stack current;
    name_book names;
    char gathered[4096];
};

inline report_desk* desk_of(table& in) noexcept {
    return static_cast<report_desk*>(seat_of(in));
}

// What the threads of the process that this one was forked from were about.
inline void forget_report(report_desk& desk) noexcept {
    desk.first.signal = 0;
    desk.waiting.clear();
    for (capture_request& each : desk.captures.requests) {
        each.thread.store(0);
        each.state.store(request_free);
    }
}

class report {
  public:
    report(table& in, report_desk& desk, report_order const& order, int fd) noexcept
        : in_{in}, desk_{desk}, order_{order}, out_{fd, write_patience, desk.gathered, sizeof desk.gathered},
          frames_{in.limit.frames < most_frames ? in.limit.frames : std::uint32_t{most_frames}} {
        desk_.fd = fd;
    }

    // False if not all of it could be written.
    bool write_all() noexcept {
        std::uint64_t const start = monotonic();
        late_for_captures_ = start + capture_budget;
        desk_.names.clear(start + naming_budget);
        title();
        int const self = gettid();
        int const first = order_.thread != 0 ? order_.thread : self;
        show_thread(first, first == self, true);
        int listed = 0;
        if (!order_.this_thread_only) {
            int const main = getpid();
            listed = each_task([&](int thread) noexcept {
                if (thread == main && thread != first) show_thread(thread, thread == self, false);
            });
            if (listed == 0)
                each_task([&](int thread) noexcept {
                    if (thread != main && thread != first) show_thread(thread, thread == self, false);
                });
        }
        end(listed);
        return out_.flush();
    }

    // Why it was cut short: an errno, or 0.
    int error() const noexcept { return out_.error(); }

  private:
    void title() noexcept {
        if (order_.title != nullptr) {
            out_.put(line_.text(order_.title));
            out_.flush();
            return;
        }
        line_.text("tocsin: ");
        if (order_.why == occasion::hang)
            hang();
        else if (order_.why == occasion::request)
            line_.text("report on request");
        else
            cause(order_.signal, *order_.info);
        if (order_.merged > 1) line_.text(", ").decimal(order_.merged).text(" times");
        line_.text(", process ").decimal(getpid());
        if (order_.thread != 0 && order_.why == occasion::crash) line_.text(", thread ").decimal(order_.thread);
        out_.put(line_);
        out_.flush();
    }

    void hang() noexcept {
        line_.text("watchdog");
        if (order_.watchdog != nullptr) line_.character(' ').quoted(order_.watchdog);
        line_.text(": not fed for ").decimal(order_.hang / 1'000'000).text(" ms");
    }

    void cause(int signal, siginfo_t const& info) noexcept {
        delivery const what{signal, info};
        line_.text(name(signal).c_str());
        char const* const reason = reason_of(signal, what.code());
        if (*reason != '\0') line_.text(" (").text(reason).character(')');
        if (what.is_from_processor())
            line_.text(" at ").address(reinterpret_cast<std::uintptr_t>(what.address()));
        else if (what.pid() != 0)
            line_.text(" sent by process ").decimal(what.pid()).text(" of user ").decimal(what.uid());
    }

    void show_thread(int thread, bool self, bool first) noexcept {
        ++threads_;
        line_.text("thread ").decimal(thread).character(' ');
        task_file<32> const comm{thread, "comm"};
        line_.quoted(comm.text(), comm.size());
        crash_note* const crash = self ? nullptr : desk_.waiting.of_thread(thread);
        bool const has_stack = crash != nullptr ? capture_crash(*crash) : capture_thread(thread, self);
        if (first && order_.why == occasion::crash) line_.text(", where it happened");
        if (first && order_.why == occasion::signal) line_.text(", which took the signal");
        if (crash != nullptr) show_crash(*crash);
        if (has_stack)
            show_stack();
        else
            silent(thread, self);
        out_.flush();
    }

    void show_stack() noexcept {
        if (desk_.current.source == stack_source::moved) line_.text(", moving");
        out_.put(line_.character(':'));
        desk_.names.learn(desk_.current.frames, desk_.current.walked.frames);
        show_frames();
    }

    // Only the report of a crash speaks for others that wait: after all others they have one of their own.
    void show_crash(crash_note& crash) noexcept {
        line_.text(", which crashed too: ");
        cause(crash.signal, crash.info);
        if (order_.why == occasion::crash) crash.state.replace(note_written, note_shown);
    }

    bool capture_crash(crash_note const& crash) noexcept {
        careful_reader memory;
        desk_.current.walked = unwind(crash.from, desk_.current.frames, frames_, memory);
        desk_.current.source = stack_source::signalled;
        return true;
    }

    bool capture_thread(int thread, bool self) noexcept {
        stack& to = desk_.current;
        if (!self) {
            bool const hurry = monotonic() > late_for_captures_;
            capture(in_, desk_.captures, thread, frames_, hurry ? 0 : capture_patience, to);
            return to.source <= stack_source::moved;
        }
        if (order_.context == nullptr && order_.from == nullptr) return false;
        careful_reader memory;
        registers const from = order_.context != nullptr ? registers_of(*order_.context) : *order_.from;
        to.walked = unwind(from, to.frames, frames_, memory);
        to.source = stack_source::signalled;
        return true;
    }

    void silent(int thread, bool self) noexcept {
        stack_source const source = desk_.current.source;
        if (self || source == stack_source::gone) {
            out_.put(line_.text(self ? ": writes this report" : ": has ended"));
            return;
        }
        task_file<64> const wchan{thread, "wchan"};
        line_.text(": no stack, it ");
        line_.text(source == stack_source::blocked   ? "runs with the library's signal blocked"
                   : source == stack_source::refused ? "could not be sent a signal"
                                                     : "did not answer");
        line_.text(" (state ").character(task_state(thread));
        if (wchan.size() > 1) line_.text(", waiting in ").escaped(wchan.text(), wchan.size(), 32);
        out_.put(line_.character(')'));
    }

    void show_frames() noexcept {
        walk const& walked = desk_.current.walked;
        for (std::size_t i = 0; i < walked.frames; ++i) show_frame(i, desk_.current.frames[i]);
        if (walked.omitted != 0) {
            line_.text("  and ").decimal(walked.omitted).text(" more frames");
            out_.put(line_);
        }
        if (walked.ended == ending::lost) out_.put(line_.text("  and no way further up"));
    }

    void show_frame(std::size_t number, frame const& of) noexcept {
        line_.text("  #").decimal(number).character(' ').address(of.pc);
        std::uintptr_t const instruction = name_book::instruction(of);
        named_address const* const known = desk_.names.find(instruction);
        if (known != nullptr && known->name != nullptr) {
            line_.character(' ').escaped(known->name, known->name_size, 512);
            line_.character('+').hexadecimal(known->offset + (of.pc - instruction));
        }
        if (known != nullptr && known->module != nullptr) show_module(*known, of.pc - instruction);
        out_.put(line_);
    }

    void show_module(named_address const& known, std::uintptr_t behind) noexcept {
        line_.text(" in ");
        if (*known.module == '\0')
            line_.text("the program");
        else
            line_.escaped(known.module);
        line_.character('+').hexadecimal(known.in_module + behind);
    }

    // Crashes since their thread was shown.
    void show_late_crashes() noexcept {
        for (crash_note& each : desk_.waiting.notes) {
            if (order_.why != occasion::crash || each.state.load() != note_written) continue;
            line_.text("thread ").decimal(each.thread);
            show_crash(each);
            out_.put(line_);
        }
    }

    void end(int listing_error) noexcept {
        show_late_crashes();
        if (listing_error != 0)
            out_.put(line_.text("other threads cannot be listed: /proc is not that of this process, or hidden"));
        line_.text("tocsin: end of report, ").decimal(threads_).text(threads_ == 1 ? " thread" : " threads");
        out_.put(line_);
    }

    table& in_;
    report_desk& desk_;
    report_order const& order_;
    output out_;
    std::uint32_t frames_;
    std::uint64_t late_for_captures_ = 0;
    unsigned threads_ = 0;
    fixed_line<2048> line_;
};

}  // namespace tocsin::in_signal
