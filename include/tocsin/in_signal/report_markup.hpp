// SPDX-License-Identifier: MIT
// The report in symbolizer markup: addresses only, and what a symbolizer elsewhere needs to name them.
//
// Runs in the handler. For programs that are stripped where they run: `llvm-symbolizer --filter-markup` puts in
// functions, files and lines (LLVM, "Symbolizer Markup Format"). Nothing is looked up here.
#pragma once

#include <tocsin/in_signal/loaded_objects.hpp>
#include <tocsin/in_signal/report_text.hpp>

namespace tocsin::in_signal {

struct markup_form {
    static constexpr bool has_preview = false;
    static constexpr bool groups = true;
    static constexpr bool tells_lines = false;
    static constexpr bool needs_names = false;
    static constexpr std::size_t longest_line = 2048;

    static void title(report_sheet& to) noexcept {
        text_form::title(to);
        to.out.put(to.text.text("{{{reset}}}"));
        unsigned number = 0;
        loaded_object now{};
        each_mapping([&](mapping const& part) noexcept {
            if (part.path[0] != '/' && part.path[0] != '[') return false;
            if (part.offset == 0) now.begin = part.begin;
            if (part.executable && part.path[0] == '/') element(to, now, part, number++);
            return false;
        });
    }

    static void thread(report_sheet& to, thread_view const& of) noexcept {
        text_form::head(to, of);
        if (of.walked == nullptr) return;
        for (std::size_t i = 0; i < of.walked->frames; ++i) {
            if (i == of.walked->inner && of.walked->omitted != 0)
                to.out.put(to.text.text("  and ").decimal(of.walked->omitted).text(" more frames"));
            frame const& one = of.frames[i];
            to.text.text("{{{bt:").decimal(of.number_of(i)).character(':').hexadecimal(one.pc);
            to.out.put(to.text.text(one.exact ? ":pc}}}" : ":ra}}}"));
        }
        if (of.group != nullptr) text_form::others_of(to, *of.group);
    }

    static void late_crash(report_sheet& to, crash_note const& crash) noexcept { text_form::late_crash(to, crash); }
    static void registers_of(report_sheet& to, registers const& all) noexcept { text_form::registers_of(to, all); }
    static void objects(report_sheet&) noexcept {}
    static void end(report_sheet& to, report_end const& how) noexcept { text_form::end(to, how); }

  private:
    // The address in the file that `part.offset` has, which segments may shift against each other.
    static std::uintptr_t file_address(loaded_object const& of, mapping const& part) noexcept {
        careful_reader memory;
        std::uintptr_t found = part.offset;
        detail::any_segment(of.begin, memory, [&](elf::segment const& segment) noexcept {
            constexpr std::uintptr_t page = 4095;
            if (segment.p_type != elf::loaded_segment || (segment.p_offset & ~page) != part.offset) return false;
            found = segment.p_vaddr & ~page;
            return true;
        });
        return found;
    }

    static void element(report_sheet& to, loaded_object& of, mapping const& part, unsigned number) noexcept {
        loaded_build_id(of.begin, of.id);
        to.text.text("{{{module:").hexadecimal(number).character(':').escaped(part.path).text(":elf:");
        to.out.put(to.text.bytes(of.id.bytes, of.id.size).text("}}}"));
        to.text.text("{{{mmap:").hexadecimal(part.begin).character(':').hexadecimal(part.end - part.begin);
        to.text.text(":load:").hexadecimal(number).character(':').text(part.readable ? "r" : "").text("x:");
        to.out.put(to.text.hexadecimal(file_address(of, part)).text("}}}"));
    }
};

}  // namespace tocsin::in_signal
