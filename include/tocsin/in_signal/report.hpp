// SPDX-License-Identifier: MIT
// The report: why it is written, and where every thread stands.
//
// Runs in the handler of a crash, and on ordinary threads for a report of a process that goes on. One at a time in
// the process. Its memory is there before it is needed. The thread that it is about is captured, written without
// names, named and written; then come all others. A step that faults or takes too long is given up, and the next
// one taken: a stack without a name, a thread without a stack.
#pragma once

#include <tocsin/in_signal/report_crumbs.hpp>
#include <tocsin/in_signal/report_sheet.hpp>
#include <tocsin/in_signal/report_step.hpp>

namespace tocsin::in_signal {

// A form of the report says how each fact is written; see report_text.hpp for what it has to answer.
template <class Form>
class report {
  public:
    report(table& in, report_desk& desk, report_order const& order, int fd) noexcept
        : in_{in}, desk_{desk}, order_{order}, out_{fd, write_patience, desk.gathered, sizeof desk.gathered},
          text_{desk.long_line, Form::longest_line},
          frames_{in.limit.frames < most_frames ? in.limit.frames : std::uint32_t{most_frames}} {
        desk_.fd = fd;
    }

    // False if not all of it could be written.
    bool write_all() noexcept {
        std::uint64_t const start = monotonic();
        late_for_captures_ = start + capture_budget;
        desk_.names.clear(start + naming_budget);
        desk_.captures.rows.begin_pass();
        forget_requests(desk_.captures);
        find_program();
        find_overflow_of_stack();
        Form::title(sheet_);
        int const self = gettid();
        int const first = order_.thread != 0 ? order_.thread : self;
        show_first(first, first == self);
        int const listed = order_.this_thread_only ? 0 : show_others(first, self);
        for (crash_note& each : desk_.waiting.notes) show_late_crash(each);
        out_.flush();
        show_lines();
        if (!order_.this_thread_only) step(desk_, naming_budget, [&]() noexcept { Form::objects(sheet_); });
        text_.clear();
        Form::end(sheet_, {threads_, listed});
        return out_.flush();
    }

    // Why it was cut short: an errno, or 0.
    int error() const noexcept { return out_.error(); }

  private:
    static constexpr bool needs_names = [] {
        if constexpr (requires { Form::needs_names; }) return Form::needs_names;
        return true;
    }();

    void find_program() noexcept {
        long const size = system_call(SYS_readlinkat, AT_FDCWD, as_word("/proc/thread-self/exe"),
                                      as_word(desk_.program), sizeof desk_.program - 1);
        if (size > 0) desk_.program[size] = '\0';  // else what was there when reports became possible
        if (desk_.program[0] == '\0') __builtin_memcpy(desk_.program, "the program", sizeof "the program");
        desk_.names.use_program(size > 0 ? "/proc/thread-self/exe" : desk_.program);
    }

    void find_overflow_of_stack() noexcept {
        bool const memory = order_.signal == SIGSEGV || order_.signal == SIGBUS;
        if (!sheet_.is_crash() || !memory || order_.context == nullptr) return;
        delivery const what{order_.signal, *order_.info};
        if (!what.is_from_processor()) return;
        step(desk_, capture_patience, [&]() noexcept {
            auto const address = reinterpret_cast<std::uintptr_t>(what.address());
            std::uintptr_t const sp = registers_of(*order_.context).sp();
            overflow_ = find_overflow(record_of(in_, order_.thread), address, sp);
        });
        if (overflow_.happened) sheet_.overflow = &overflow_;
    }

    // What can be said at once goes out at once: the signal, and the stack without names.
    void show_first(int thread, bool self) noexcept {
        if (!step(desk_, capture_patience * 2, [&]() noexcept { capture_first(thread, self); }))
            desk_.current.source = stack_source::no_answer;
        __builtin_memcpy(&desk_.first_stack, &desk_.current, offsetof(stack, frames));
        std::size_t const kept = desk_.current.walked.frames;
        for (std::size_t i = 0; i < kept; ++i) desk_.first_stack.frames[i] = desk_.current.frames[i];
        bool const has_stack = desk_.first_stack.source <= stack_source::moved;
        if constexpr (Form::has_preview)
            if (has_stack && order_.why == occasion::crash)
                Form::preview(sheet_, desk_.first_stack.walked, desk_.first_stack.frames);
        out_.flush();
        thread_view shown{thread, true, self, desk_.first_stack.source, nullptr, 0};
        if (has_stack) set_stack(shown, desk_.first_stack.walked, desk_.first_stack.frames);
        show(shown);
        if (order_.why == occasion::crash && order_.context != nullptr && order_.with_registers)
            Form::registers_of(sheet_, registers_of(*order_.context));
        out_.flush();
    }

    void capture_first(int thread, bool self) noexcept {
        stack& to = desk_.current;
        to.source = stack_source::no_answer;
        to.walked = {};
        if (!self) return capture(in_, desk_.captures, thread, frames_, capture_patience, to);
        if (order_.context == nullptr && order_.from == nullptr) return;
        careful_reader memory;
        registers const from = order_.context != nullptr ? registers_of(*order_.context) : *order_.from;
        to.walked = unwind(from, to.frames, frames_, memory, &desk_.captures.rows);
        to.source = stack_source::signalled;
    }

    // All are captured before any is named: threads of a process that goes on move in the meantime.
    int show_others(int first, int self) noexcept {
        desk_.groups.clear();
        int const main = process_;
        if (main != first && tgkill(main, main, 0) == 0) show_other(main, self);
        int const listed = each_task([&](int thread, int tasks) noexcept {
            bool const clock = thread == sender_of(desk_.clock) || thread == sender_of(desk_.whole_clock);
            if (thread != main && thread != first && !clock) show_other(thread, self, tasks);
        });
        if (listed != 0) show_recorded(first, self);
        show_asked();
        for (std::uint32_t i = 0; i < desk_.groups.count(); ++i) show_group(desk_.groups.group(i));
        return listed;
    }

    // Without a list, those are known that have said something of themselves.
    void show_recorded(int first, int self) noexcept {
        std::int32_t const live = in_.live_process->load_relaxed();
        for (thread_record* each = in_.threads.load_acquire(); each != nullptr; each = each->next) {
            std::int32_t const thread = each->thread.load();
            if (thread <= 0 || thread == first || thread == process_ || each->process.load_relaxed() != live) continue;
            if (tgkill(process_, thread, 0) == 0) show_other(thread, self);
        }
    }

    // At once, or with its group. Who has been asked is shown when many have been: all of them have the same time to
    // answer, and those that do not answer take it once.
    void show_other(int thread, int self, int tasks = AT_FDCWD) noexcept {
        if (desk_.captures.asked == most_asked) show_asked();
        bool asked = false;
        if (!step(desk_, 0, [&]() noexcept { asked = capture_other(thread, self, tasks); }))
            desk_.current.source = stack_source::no_answer;
        if (!asked) show_current(thread, self, tasks);
    }

    void show_asked() noexcept {
        collect_all(desk_.captures, late_for_captures_, desk_.current,
                    [this](int thread) noexcept { show_current(thread, 0); });
    }

    void show_current(int thread, int self, int tasks = AT_FDCWD) noexcept {
        bool const has_stack = desk_.current.source <= stack_source::moved;
        thread_view shown{thread, false, thread == self, desk_.current.source, nullptr, 0};
        shown.crash = thread == self ? nullptr : desk_.waiting.of_thread(thread);
        bool const alone = !Form::groups || shown.crash != nullptr || desk_.current.source == stack_source::moved ||
                           thread == process_ || has_crumbs(in_, thread);
        task_file<32> const comm{thread, "comm", tasks};
        if (has_stack && !alone && desk_.groups.add(thread, comm.text(), comm.size(), desk_.current)) return;
        if (has_stack) set_stack(shown, desk_.current.walked, desk_.current.frames);
        show(shown);
        out_.flush();
    }

    // True if it has been asked.
    bool capture_other(int thread, int self, int tasks) noexcept {
        stack& to = desk_.current;
        to.source = stack_source::no_answer;
        to.walked = {};
        if (thread == self) return capture_first(thread, true), false;
        if (crash_note const* const crash = desk_.waiting.of_thread(thread)) {
            careful_reader memory;
            to.walked = unwind(crash->from, to.frames, frames_, memory, &desk_.captures.rows);
            to.source = stack_source::signalled;
            return false;
        }
        bool const hurry = monotonic() > late_for_captures_;
        std::uint64_t const patience = hurry ? 0 : capture_patience;
        return begin_capture(in_, desk_.captures, thread, frames_, patience, to, tasks) != nullptr;
    }

    void show_group(stack_group const& group) noexcept {
        group_member const& member = *desk_.groups.first_of(group);
        thread_view shown{member.thread, false, false, stack_source::waiting, member.name, length_of(member.name)};
        set_stack(shown, group.walked, desk_.groups.frames_of(group));
        shown.group = &group;
        show(shown);
        out_.flush();
    }

    static void set_stack(thread_view& shown, walk const& walked, frame const* frames) noexcept {
        shown.walked = &walked;
        shown.frames = frames;
    }

    void show(thread_view& shown) noexcept {
        threads_ += shown.group != nullptr ? shown.group->members : 1;
        constexpr long get_name = 16;  // PR_GET_NAME (linux/prctl.h)
        char long_name[longest_thread_name + 1] = {};
        task_file<32> const comm{shown.thread, "comm"};
        if (shown.name == nullptr || shown.group->members == 1) {
            thread_record const* const record = record_of(in_, shown.thread);
            std::size_t const size = record != nullptr ? copy_name(*record, comm.text(), comm.size(), long_name) : 0;
            shown.name = size != 0 ? long_name : comm.text();
            shown.name_size = size != 0 ? size : comm.size();
            if (shown.name_size == 0 && shown.thread == gettid()) {
                system_call(SYS_prctl, get_name, as_word(long_name));
                shown.name = long_name;
                shown.name_size = length_of(long_name, kernel_thread_name);
            }
        }
        if (shown.walked != nullptr && names_work_ && needs_names)
            names_work_ = step(desk_, naming_budget, [&]() noexcept {
                desk_.names.learn(shown.frames, shown.walked->frames);
            });
        Form::thread(sheet_, shown);
        // Only the report of a crash speaks for others that wait: after all others they have one of their own.
        if (shown.crash != nullptr && order_.why == occasion::crash)
            shown.crash->state.replace(note_written, note_shown);
    }

    // Last, because it is somebody else's code that reads debug information, for as long as that may take.
    void show_lines() noexcept {
        if constexpr (Form::tells_lines)
            if (line_source const* const source = desk_.lines.load()) show_lines_by(*source);
    }

    void show_lines_by(line_source const& source) noexcept {
        late_for_lines_ = monotonic() + lines_budget;
        stack const& first = desk_.first_stack;
        if (first.source <= stack_source::moved) show_lines_of(source, first.frames, first.walked.frames);
        for (std::uint32_t i = 0; !order_.this_thread_only && i < desk_.groups.count(); ++i) {
            stack_group const& group = desk_.groups.group(i);
            show_lines_of(source, desk_.groups.frames_of(group), group.walked.frames);
        }
    }

    void show_lines_of(line_source const& source, frame const* frames, std::size_t count) noexcept {
        for (std::size_t i = 0; i < count && lines_work_ && monotonic() < late_for_lines_; ++i) {
            if (!desk_.names.first_line_of(name_book::instruction(frames[i]))) continue;
            lines_work_ = step(desk_, lines_budget, [&]() noexcept { show_lines_at(source, frames[i]); });
            text_.clear();
        }
        out_.flush();
    }

    void show_lines_at(line_source const& source, frame const& of) noexcept {
        unsigned depth = 0;
        each_line(&source, name_book::instruction(of), [&](line_answer const& place) noexcept {
            Form::source_line(sheet_, of.pc, depth++, place);
        });
    }

    void show_late_crash(crash_note& each) noexcept {
        if (order_.why != occasion::crash || !each.state.replace(note_written, note_shown)) return;
        Form::late_crash(sheet_, each);
    }

    table& in_;
    report_desk& desk_;
    report_order const& order_;
    output out_;
    line text_;
    report_sheet sheet_{in_, desk_, order_, out_, text_};
    std::uint32_t frames_;
    int const process_ = getpid();
    std::uint64_t late_for_captures_ = 0;
    unsigned threads_ = 0;
    stack_overflow overflow_;
    std::uint64_t late_for_lines_ = 0;
    bool names_work_ = true;
    bool lines_work_ = true;
};

// Writes a report in one of its forms; answers an errno, or 0.
using report_writer = int (*)(table&, report_desk&, report_order const&, int fd) noexcept;

template <class Form>
int write_report(table& in, report_desk& desk, report_order const& order, int fd) noexcept {
    report<Form> whole{in, desk, order, fd};
    keep_mask(desk.steps);  // with the signals that writing may cause
    whole.write_all();
    return whole.error();
}

}  // namespace tocsin::in_signal
