// SPDX-License-Identifier: MIT
// The report in the grammar of CPython's faulthandler, for whoever reads that already.
//
// Runs in the handler. Breadcrumbs (trace.hpp) are the frames that have files and lines; a thread without them shows
// the functions of its native stack, with the object as the file and ??? for the line. The thread's number is the
// kernel's. The native stack of the thread that the report is about follows at the end, 32 frames of it.
#pragma once

#include <tocsin/in_signal/report_crumbs.hpp>
#include <tocsin/in_signal/report_sheet.hpp>

namespace tocsin::in_signal {

struct faulthandler_form {
    static constexpr bool has_preview = false;
    static constexpr bool groups = false;
    static constexpr bool tells_lines = false;
    static constexpr std::size_t longest_line = 8192;

    static void title(report_sheet& to) noexcept {
        report_order const& order = to.order;
        if (order.title != nullptr) {
            to.out.put(to.text.text(order.title));
            return;
        }
        if (!to.is_crash()) return;
        char const* const known = words_for(order.signal);
        to.text.text("Fatal error: ");
        if (known != nullptr)
            to.text.text(known);
        else
            to.text.text("signal ").decimal(order.signal);
        to.out.put(to.text);
        to.out.write("\n");
    }

    static void thread(report_sheet& to, thread_view const& of) noexcept {
        bool const current = of.first && to.order.why != occasion::hang;
        if (!of.first) to.out.write("\n");
        if (to.order.this_thread_only)
            to.text.text("Stack (most recent call first):");
        else
            head(to.text.text(current ? "Current thread 0x" : "Thread 0x"), of);
        to.out.put(to.text);
        unsigned shown = 0;
        unsigned const all = each_crumb_of(to, of.thread, [&](crumb const& one) noexcept {
            to.text.text("  File \"").escaped(one.file.data, one.file.size, longest_text).text("\", line ");
            to.text.decimal(one.line).text(" in ").escaped(one.function.data, one.function.size, longest_text);
            to.out.put(to.text);
            ++shown;
        });
        if (all > shown) to.out.write("  ...\n");
        if (all != 0) return;
        if (of.walked == nullptr) {
            to.out.write("  <no frame>\n");
            return;
        }
        for (std::size_t i = 0; i < of.walked->frames && i < most_shown; ++i) native_as_file(to, of.frames[i]);
        if (of.walked->frames > most_shown || of.walked->omitted != 0) to.out.write("  ...\n");
    }

    static void late_crash(report_sheet&, crash_note const&) noexcept {}
    static void registers_of(report_sheet&, registers const&) noexcept {}

    // In the place of the objects: faulthandler's block of native frames.
    static void objects(report_sheet& to) noexcept {
        stack const& of = to.desk.first_stack;
        if (!to.is_crash() || of.source > stack_source::moved) return;
        to.out.write("\nCurrent thread's C stack trace (most recent call first):\n");
        for (std::size_t i = 0; i < of.walked.frames && i < most_native; ++i) native(to, of.frames[i]);
        if (of.walked.frames > most_native || of.walked.omitted != 0) to.out.write("  <truncated rest of calls>\n");
    }

    static void end(report_sheet&, report_end const&) noexcept {}

  private:
    static constexpr std::size_t most_shown = 100;
    static constexpr std::size_t most_native = 32;
    static constexpr std::size_t longest_text = 500;

    static char const* words_for(int signal) noexcept {
        switch (signal) {
            case SIGBUS: return "Bus error";
            case SIGILL: return "Illegal instruction";
            case SIGFPE: return "Floating-point exception";
            case SIGABRT: return "Aborted";
            case SIGSEGV: return "Segmentation fault";
            default: return nullptr;
        }
    }

    static void head(line& to, thread_view const& of) noexcept {
        to.hex(static_cast<std::uint64_t>(of.thread), 16);
        if (of.name_size != 0) to.text(" [").escaped(of.name, of.name_size).character(']');
        to.text(" (most recent call first):");
    }

    static void native_as_file(report_sheet& to, frame const& one) noexcept {
        frame_view const shown = view_of(to.desk, one);
        to.text.text("  File ");
        if (shown.module != nullptr)
            to.text.character('"').escaped(shown.module, length_of(shown.module, 4096), longest_text).character('"');
        else
            to.text.text("???");
        to.text.text(", line ??? in ");
        if (shown.name != nullptr)
            to.text.escaped(shown.name, shown.name_size, longest_text);
        else
            to.text.text("???");
        to.out.put(to.text);
    }

    static void native(report_sheet& to, frame const& one) noexcept {
        frame_view const shown = view_of(to.desk, one);
        to.text.text("  Binary file ");
        if (shown.module != nullptr)
            to.text.character('"').escaped(shown.module, length_of(shown.module, 4096), longest_text).character('"');
        else
            to.text.text("<unknown>");
        to.text.text(", at ");
        if (shown.name != nullptr) to.text.escaped(shown.name, shown.name_size, longest_text);
        to.text.character('+').hexadecimal(shown.name != nullptr ? shown.offset : shown.in_module);
        to.out.put(to.text.text(" [").hexadecimal(shown.pc).character(']'));
    }
};

}  // namespace tocsin::in_signal
