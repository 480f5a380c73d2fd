// SPDX-License-Identifier: MIT
// The report: why it is written, and where every thread stands.
//
// Runs in the handler of a crash, and on ordinary threads for a report of a process that goes on. One at a time in
// the process. Its memory is there before it is needed; its stacks are captured, named and written one after another,
// so that a report that is cut short by a full pipe or a fault of its own says what it has said.
#pragma once

#include <tocsin/delivery.hpp>
#include <tocsin/in_signal/capture.hpp>
#include <tocsin/in_signal/describe.hpp>
#include <tocsin/in_signal/names.hpp>
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
    std::uint64_t merged = 1;
};

// The memory of reports, one for the process.
struct report_desk {
    atomic<std::uint64_t> owner;    // process and thread that write, 0 if nobody
    atomic<std::uint32_t> claimed;  // the reserved signal is claimed for good
    capture_desk captures;
    stack current;
    name_book names;
    char gathered[4096];
    // of the crash that is being reported, in case the report crashes too
    int crash_signal;
    siginfo_t crash_info;
    mcontext_t crash_registers;
    kernel_set crash_mask;
};

inline report_desk* desk_of(table& in) noexcept {
    return static_cast<report_desk*>(__atomic_load_n(&in.capture_area, __ATOMIC_ACQUIRE));
}

class report {
  public:
    report(table& in, report_desk& desk, report_order const& order, int fd) noexcept
        : in_{in}, desk_{desk}, order_{order}, out_{fd, write_patience, desk.gathered, sizeof desk.gathered},
          frames_{in.limit.frames < most_frames ? in.limit.frames : std::uint32_t{most_frames}} {}

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
        line_.text("tocsin: ");
        if (order_.why == occasion::hang)
            line_.text("watchdog: not fed for ").decimal(order_.hang / 1'000'000).text(" ms");
        else if (order_.why == occasion::request)
            line_.text("report on request");
        else
            cause();
        line_.text(", process ").decimal(getpid());
        if (order_.thread != 0 && order_.why == occasion::crash) line_.text(", thread ").decimal(order_.thread);
        out_.put(line_);
        out_.flush();
    }

    void cause() noexcept {
        delivery const what{order_.signal, *order_.info};
        line_.text(name(order_.signal).c_str());
        if (*reason_of(order_.signal, what.code()) != '\0' && what.code() > 0)
            line_.text(" (").text(reason_of(order_.signal, what.code())).character(')');
        if (what.is_from_processor())
            line_.text(" at ").address(reinterpret_cast<std::uintptr_t>(what.address()));
        else if (what.code() <= 0)
            line_.text(" sent by process ").decimal(what.pid()).text(" of user ").decimal(what.uid());
        if (order_.merged > 1) line_.text(", ").decimal(order_.merged).text(" times");
    }

    void show_thread(int thread, bool self, bool first) noexcept {
        ++threads_;
        line_.text("thread ").decimal(thread).character(' ');
        task_file<32> const comm{thread, "comm"};
        line_.quoted(comm.text(), comm.size());
        bool const has_stack = capture_thread(thread, self);
        if (first && order_.why == occasion::crash) line_.text(", where it happened");
        if (first && order_.why == occasion::signal) line_.text(", which took the signal");
        if (!has_stack) {
            silent(thread, self);
            out_.put(line_);
            return;
        }
        if (desk_.current.source == stack_source::moved) line_.text(", moving");
        out_.put(line_.character(':'));
        desk_.names.learn(desk_.current.frames, desk_.current.walked.frames);
        show_frames();
    }

    bool capture_thread(int thread, bool self) noexcept {
        stack& to = desk_.current;
        careful_reader memory;
        if (!self) {
            bool const hurry = monotonic() > late_for_captures_;
            capture(in_, desk_.captures, thread, frames_, hurry ? 0 : capture_patience, to);
            return to.source <= stack_source::moved;
        }
        if (order_.context == nullptr && order_.from == nullptr) return false;
        registers const from = order_.context != nullptr ? registers_of(*order_.context) : *order_.from;
        to.walked = unwind(from, to.frames, frames_, memory);
        to.source = stack_source::signalled;
        return true;
    }

    void silent(int thread, bool self) noexcept {
        if (self) {
            line_.text(": writes this report");
            return;
        }
        if (desk_.current.source == stack_source::gone) {
            line_.text(": has ended meanwhile");
            return;
        }
        task_file<64> const wchan{thread, "wchan"};
        task_file<512> const stat{thread, "stat"};
        line_.text(": no stack, it ");
        line_.text(desk_.current.source == stack_source::refused ? "could not be sent a signal" : "did not answer");
        line_.text(" (state ").character(state_in(stat.text()));
        if (wchan.size() > 1) line_.text(", waiting in ").escaped(wchan.text(), wchan.size(), 32);
        line_.character(')');
    }

    // proc(5), /proc/pid/stat: the state follows the name, which may hold anything, in parentheses.
    static char state_in(char const* stat) noexcept {
        char state = '?';
        for (char const* at = stat; *at != '\0'; ++at)
            if (at[0] == ')' && at[1] == ' ' && at[2] != '\0') state = at[2];
        return state;
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

    void end(int listing_error) noexcept {
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
