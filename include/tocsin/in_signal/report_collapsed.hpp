// SPDX-License-Identifier: MIT
// The report as collapsed stacks: one line for each stack, outermost first, and how many threads stand there.
//
// Runs in the handler. The form that tools for flame graphs read: `thread;main;serve;poll 3`. Nothing else is in it:
// no title, and no thread that has no stack. Semicolons in names become colons.
#pragma once

#include <tocsin/in_signal/report_sheet.hpp>

namespace tocsin::in_signal {

struct collapsed_form {
    static constexpr bool has_preview = false;
    static constexpr bool groups = true;
    static constexpr bool tells_lines = false;
    static constexpr std::size_t longest_line = 65536;

    static void title(report_sheet&) noexcept {}
    static void late_crash(report_sheet&, crash_note const&) noexcept {}
    static void registers_of(report_sheet&, registers const&) noexcept {}
    static void objects(report_sheet&) noexcept {}
    static void end(report_sheet&, report_end const&) noexcept {}

    static void thread(report_sheet& to, thread_view const& of) noexcept {
        if (of.walked == nullptr) return;
        part(to.text, of.name, of.name_size);
        for (std::size_t i = of.walked->frames; i-- != 0;) {
            if (i + 1 == of.walked->inner && of.walked->omitted != 0) to.text.text(";[...]");
            frame_view const shown = view_of(to.desk, of.frames[i]);
            to.text.character(';');
            if (shown.name != nullptr)
                part(to.text, shown.name, shown.name_size);
            else if (shown.module != nullptr)
                object(to.text, shown);
            else
                to.text.hexadecimal(shown.pc);
        }
        to.text.character(' ').decimal(of.group != nullptr ? of.group->members : 1U);
        to.out.put(to.text);
    }

  private:
    static constexpr std::size_t longest_part = 512;

    static void part(line& to, char const* text, std::size_t size) noexcept {
        fixed_line<longest_part> clean;
        for (std::size_t i = 0; i < size && i < longest_part - 16; ++i) clean.character(text[i] == ';' ? ':' : text[i]);
        to.escaped(clean.data(), clean.size(), longest_part);
    }
    static void object(line& to, frame_view const& of) noexcept {
        fixed_line<longest_part> name;
        append_base_name(name, of.module);
        part(to, name.data(), name.size());
        to.character('+').hexadecimal(of.in_module);
    }
};

}  // namespace tocsin::in_signal
