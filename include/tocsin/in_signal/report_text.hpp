// SPDX-License-Identifier: MIT
// The report as text for people, a line for each fact.
//
// Runs in the handler.
#pragma once

#include <tocsin/in_signal/loaded_objects.hpp>
#include <tocsin/in_signal/report_crumbs.hpp>
#include <tocsin/in_signal/report_sheet.hpp>

namespace tocsin::in_signal {

struct text_form {
    static constexpr bool has_preview = true;
    static constexpr bool groups = true;
    static constexpr bool tells_lines = true;
    static constexpr std::size_t longest_line = 2048;

    static void title(report_sheet& to) noexcept {
        report_order const& order = to.order;
        if (order.title != nullptr) {
            to.out.put(to.text.text(order.title));
            return;
        }
        to.text.text("tocsin: ");
        if (order.why == occasion::hang)
            hang(to);
        else if (order.why == occasion::request)
            to.text.text("report on request");
        else
            append_cause(to.text, order.signal, *order.info);
        if (to.overflow != nullptr) overflow(to.text, *to.overflow);
        if (order.merged > 1) to.text.text(", ").decimal(order.merged).text(" times");
        to.text.text(", process ").decimal(getpid());
        if (order.thread != 0 && to.is_crash()) to.text.text(", thread ").decimal(order.thread);
        to.out.put(to.text);
        last_words_of(to);
    }

    // Before anything is looked up: enough to find the place with a symbolizer, should this be all.
    static void preview(report_sheet& to, walk const& walked, frame const* frames) noexcept {
        to.text.text("  raw:");
        for (std::size_t i = 0; i < walked.inner && i < most_previewed && to.text.room() > 300; ++i) {
            module_info const module = module_of(name_book::instruction(frames[i]));
            to.text.text(i == 0 ? " " : " < ");
            if (module.found) {
                append_base_name(to.text, *module.path != '\0' ? module.path : to.desk.program);
                to.text.character('+').hexadecimal(frames[i].pc - module.bias);
            } else {
                to.text.hexadecimal(frames[i].pc);
            }
        }
        to.out.put(to.text);
    }

    static void thread(report_sheet& to, thread_view const& of) noexcept {
        head(to, of);
        if (of.walked == nullptr) return;
        frames_of(to, of);
        if (of.group != nullptr) others_of(to, *of.group);
    }

    // The thread's own line, or lines: who, why there is no stack, and what it says of itself.
    static void head(report_sheet& to, thread_view const& of) noexcept {
        to.text.text("thread ").decimal(of.thread).character(' ').quoted(of.name, of.name_size);
        if (of.group != nullptr && of.group->members > 1) {
            std::uint32_t const others = of.group->members - 1;
            to.text.text(" and ").decimal(others).text(others == 1 ? " other" : " others").text(" at the same place");
        }
        if (of.first && to.is_crash()) to.text.text(", where it happened");
        if (of.first && to.order.why == occasion::signal) to.text.text(", which took the signal");
        if (of.crash != nullptr) {
            to.text.text(", which crashed too: ");
            append_cause(to.text, of.crash->signal, of.crash->info);
        }
        if (of.walked == nullptr) {
            silent(to, of);
        } else {
            if (of.source == stack_source::moved) to.text.text(", moving");
            to.out.put(to.text.character(':'));
        }
        crumbs(to, of.thread);
    }

    // A crash that came to be known after its thread had been shown.
    static void late_crash(report_sheet& to, crash_note const& crash) noexcept {
        to.text.text("thread ").decimal(crash.thread).text(", which crashed too: ");
        to.out.put(append_cause(to.text, crash.signal, crash.info));
    }

    static void registers_of(report_sheet& to, registers const& all) noexcept {
        to.text.text("  registers: ").text(machine::pc_name).character(' ').address(all.pc);
        unsigned in_line = 1;
        for (unsigned i = 0; i < machine::named_registers; ++i) {
            if (!all.knows(i)) continue;
            if (in_line == 4) {
                to.out.put(to.text);
                to.text.text("    ");
                in_line = 0;
            }
            if (in_line++ != 0) to.text.text(", ");
            to.text.text(machine::register_names[i]).character(' ').address(all.value[i]);
        }
        to.out.put(to.text);
    }

    static void objects(report_sheet& to) noexcept {
        each_loaded_object([&](loaded_object const& object) noexcept {
            to.text.text("object ").address(object.begin).text(" to ").address(object.end).character(' ');
            to.text.escaped(object.path);
            if (object.id.known()) to.text.text(", build-id ").bytes(object.id.bytes, object.id.size);
            to.out.put(to.text);
        });
    }

    static void end(report_sheet& to, report_end const& how) noexcept {
        if (how.listing_error != 0)
            to.out.put(to.text.text("other threads cannot be listed: ").text(reason_for_no_list(how.listing_error)));
        to.text.text("tocsin: end of report, ").decimal(how.threads).text(how.threads == 1 ? " thread" : " threads");
        to.out.put(to.text);
    }

    static void source_line(report_sheet& to, std::uintptr_t pc, unsigned depth, line_answer const& at) noexcept {
        if (depth == 0)
            to.text.text("line ").address(pc).character(' ');
        else
            to.text.text("  inlined into ");
        if (at.function != nullptr) append_function(to, at.function);
        to.out.put(to.text.escaped(at.file).character(':').decimal(at.line));
    }

    static void others_of(report_sheet& to, stack_group const& group) noexcept {
        unsigned in_line = 0;
        group_member const* each = to.desk.groups.first_of(group);
        for (each = to.desk.groups.after(*each); each != nullptr; each = to.desk.groups.after(*each)) {
            to.text.text(in_line++ == 0 ? "  also " : ", ").decimal(each->thread).character(' ').quoted(each->name);
            if (in_line < 8) continue;
            to.out.put(to.text);
            in_line = 0;
        }
        if (in_line != 0) to.out.put(to.text);
    }

  private:
    static constexpr std::size_t most_previewed = 16;

    static void overflow(line& to, stack_overflow const& of) noexcept {
        to.text(", stack overflow");
        if (of.size() != 0) to.text(" of ").decimal(of.size() / 1024).text(" KiB");
    }

    static void append_function(report_sheet& to, char const* mangled) noexcept {
        name_book::readable_name const name = to.desk.names.readable(mangled);
        to.text.escaped(name.text, name.size, 512).text(" at ");
    }

    static void crumbs(report_sheet& to, int thread) noexcept {
        unsigned shown = 0;
        unsigned const all = each_crumb_of(to, thread, [&](crumb const& one) noexcept {
            append_crumb(to.text.text("  trace: "), one);
            to.out.put(to.text);
            ++shown;
        });
        if (all > shown) to.out.put(to.text.text("  trace: and ").decimal(all - shown).text(" more"));
    }

    static void hang(report_sheet& to) noexcept {
        to.text.text("watchdog");
        if (to.order.watchdog != nullptr) to.text.character(' ').quoted(to.order.watchdog);
        to.text.text(": not fed for ").decimal(to.order.hang / 1'000'000).text(" ms");
    }

    static void last_words_of(report_sheet& to) noexcept {
        char const* const words = last_words_for(to);
        if (words == nullptr) return;
        to.text.text("  last words: ").escaped(words, length_of(words, longest_last_words), 1500);
        to.out.put(to.text);
    }

    static void silent(report_sheet& to, thread_view const& of) noexcept {
        if (of.self || of.source == stack_source::gone) {
            to.out.put(to.text.text(of.self ? ": writes this report" : ": has ended"));
            return;
        }
        to.text.text(": no stack, ").text(reason_for_silence(of.source));
        to.text.text(" (state ").character(task_state(of.thread));
        waiting_in(to.text, of.thread);
        to.out.put(to.text.character(')'));
    }

    // Apart: inlined, it makes GCC 12 see a pointer that outlives the file's text.
    [[gnu::noinline]] static void waiting_in(line& to, int thread) noexcept {
        task_file<64> const wchan{thread, "wchan"};
        if (wchan.size() > 1) to.text(", waiting in ").escaped(wchan.text(), wchan.size(), 32);
    }

    static void frames_of(report_sheet& to, thread_view const& of) noexcept {
        walk const& walked = *of.walked;
        for (std::size_t i = 0; i < walked.frames; ++i) {
            if (i == walked.inner) omitted(to, walked);
            frame_line(to, of.number_of(i), view_of(to.desk, of.frames[i]));
        }
        if (walked.inner == walked.frames) omitted(to, walked);
        if (walked.ended == ending::limit) to.out.put(to.text.text("  and more, which were not counted"));
        if (walked.ended == ending::lost) to.out.put(to.text.text("  and no way further up"));
    }

    static void omitted(report_sheet& to, walk const& walked) noexcept {
        if (walked.omitted != 0)
            to.out.put(to.text.text("  and ").decimal(walked.omitted).text(" more frames"));
    }

    static void frame_line(report_sheet& to, std::size_t number, frame_view const& of) noexcept {
        to.text.text("  #").decimal(number).character(' ').address(of.pc);
        if (of.name != nullptr)
            to.text.character(' ').escaped(of.name, of.name_size, 512).character('+').hexadecimal(of.offset);
        if (of.module != nullptr)
            to.text.text(" in ").escaped(of.module).character('+').hexadecimal(of.in_module);
        to.out.put(to.text);
    }
};

}  // namespace tocsin::in_signal
