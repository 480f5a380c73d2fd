// SPDX-License-Identifier: MIT
// The report as JSON lines: each line is one object with a member "type".
//
// Runs in the handler. Types: report, thread, frames (more of the thread before, if one line cannot hold them), crash,
// registers, line, object, end. Numbers are numbers; addresses are strings of hexadecimal digits, because many readers
// keep no more than 53 bits (RFC 8259, section 6). Bytes of names that are not ASCII are \u00NN each.
#pragma once

#include <tocsin/in_signal/loaded_objects.hpp>
#include <tocsin/in_signal/report_crumbs.hpp>
#include <tocsin/in_signal/report_sheet.hpp>

namespace tocsin::in_signal {

struct json_form {
    static constexpr bool has_preview = false;
    static constexpr bool groups = true;
    static constexpr bool tells_lines = true;
    static constexpr std::size_t longest_line = 65536;

    static void title(report_sheet& to) noexcept {
        report_order const& order = to.order;
        constexpr char const* words[] = {"crash", "signal", "hang", "request"};
        to.text.text(R"({"type":"report","version":1,"why":")").text(words[static_cast<unsigned>(order.why)]);
        to.text.text(R"(","process":)").decimal(getpid()).text(R"(,"program":)").json(to.desk.program);
        if (order.thread != 0) to.text.text(R"(,"thread":)").decimal(order.thread);
        if (order.info != nullptr && order.signal != 0) cause(to.text, order.signal, *order.info);
        if (order.hang != 0) to.text.text(R"(,"unfed_ms":)").decimal(order.hang / 1'000'000);
        if (order.watchdog != nullptr) to.text.text(R"(,"watchdog":)").json(order.watchdog);
        if (order.title != nullptr) to.text.text(R"(,"title":)").json(order.title);
        if (to.overflow != nullptr)
            to.text.text(R"(,"stack_overflow":true,"stack_bytes":)").decimal(to.overflow->size());
        if (char const* const said = last_words_for(to))
            to.text.text(R"(,"last_words":)").json(said, length_of(said, longest_last_words), 4096);
        to.text.text(R"(,"merged":)").decimal(order.merged).character('}');
        to.out.put(to.text);
    }

    static void thread(report_sheet& to, thread_view const& of) noexcept {
        to.text.text(R"({"type":"thread","id":)")
            .decimal(of.thread)
            .text(R"(,"name":)")
            .json(of.name, of.name_size);
        if (of.first) to.text.text(R"(,"first":true)");
        if (of.self) to.text.text(R"(,"writes_report":true)");
        if (of.group != nullptr && of.group->members > 1) same_place(to, *of.group);
        if (of.crash != nullptr) {
            to.text.text(R"(,"crashed_too":true)");
            cause(to.text, of.crash->signal, of.crash->info);
        }
        crumbs(to, of);
        if (of.walked == nullptr) {
            to.text.text(R"(,"no_stack":)")
                .json(of.self ? "it writes this report" : reason_for_silence(of.source));
            to.text.text(R"(,"state":")").character(printable_state(task_state(of.thread))).character('"');
            task_file<64> const wchan{of.thread, "wchan"};
            if (wchan.size() > 1) to.text.text(R"(,"wchan":)").json(wchan.text(), wchan.size());
            to.out.put(to.text.character('}'));
            return;
        }
        if (of.source == stack_source::moved) to.text.text(R"(,"moving":true)");
        if (of.walked->omitted != 0) to.text.text(R"(,"omitted_frames":)").decimal(of.walked->omitted);
        if (of.walked->ended == ending::lost) to.text.text(R"(,"lost":true)");
        frames(to, of);
    }

    static void late_crash(report_sheet& to, crash_note const& crash) noexcept {
        to.text.text(R"({"type":"crash","thread":)").decimal(crash.thread);
        cause(to.text, crash.signal, crash.info);
        to.out.put(to.text.character('}'));
    }

    static void registers_of(report_sheet& to, registers const& all) noexcept {
        to.text.text(R"({"type":"registers",")")
            .text(machine::pc_name)
            .text(R"(":")")
            .hexadecimal(all.pc)
            .character('"');
        for (unsigned i = 0; i < machine::named_registers; ++i)
            if (all.knows(i))
                to.text.text(",\"")
                    .text(machine::register_names[i])
                    .text(R"(":")")
                    .hexadecimal(all.value[i])
                    .character('"');
        to.out.put(to.text.character('}'));
    }

    static void source_line(report_sheet& to, std::uintptr_t pc, unsigned depth,
                            line_answer const& at) noexcept {
        to.text.text(R"({"type":"line","pc":")").hexadecimal(pc).text(R"(","file":)").json(at.file);
        to.text.text(R"(,"line":)").decimal(at.line);
        if (depth != 0) to.text.text(R"(,"inlined_into_depth":)").decimal(depth);
        if (at.function != nullptr) {
            name_book::readable_name const name = to.desk.names.readable(at.function);
            to.text.text(R"(,"function":)").json(name.text, name.size, 1024);
        }
        to.out.put(to.text.character('}'));
    }

    static void objects(report_sheet& to) noexcept {
        each_loaded_object([&](loaded_object const& object) noexcept {
            to.text.text(R"({"type":"object","begin":")").hexadecimal(object.begin).text(R"(","end":")");
            to.text.hexadecimal(object.end).text(R"(","path":)").json(object.path);
            if (object.id.known())
                to.text.text(R"(,"build_id":")").bytes(object.id.bytes, object.id.size).character('"');
            to.out.put(to.text.character('}'));
        });
    }

    static void end(report_sheet& to, report_end const& how) noexcept {
        to.text.text(R"({"type":"end","threads":)").decimal(how.threads);
        if (how.listing_error != 0) to.text.text(R"(,"other_threads_hidden":true)");
        to.out.put(to.text.character('}'));
    }

  private:
    static constexpr std::size_t room_for_a_frame = 4096;
    static constexpr std::size_t room_for_crumbs = 24'576;

    static char printable_state(char c) noexcept { return c >= 'A' && c <= 'z' && c != '\\' ? c : '?'; }

    static void cause(line& to, int signal, siginfo_t const& info) noexcept {
        delivery const what{signal, info};
        to.text(R"(,"signal":")").text(name(signal).c_str()).text(R"(","number":)").decimal(signal);
        to.text(R"(,"code":)").decimal(what.code());
        char const* const reason = reason_of(signal, what.code());
        if (*reason != '\0') to.text(R"(,"reason":)").json(reason);
        if (what.is_from_processor())
            to.text(R"(,"address":")")
                .hexadecimal(reinterpret_cast<std::uintptr_t>(what.address()))
                .character('"');
        else if (what.pid() != 0)
            to.text(R"(,"sender":)").decimal(what.pid()).text(R"(,"sender_user":)").decimal(what.uid());
    }

    static void same_place(report_sheet& to, stack_group const& group) noexcept {
        to.text.text(R"(,"count":)").decimal(group.members).text(R"(,"also":[)");
        bool more = false;
        std::size_t left = 0;
        group_member const* each = to.desk.groups.first_of(group);
        for (each = to.desk.groups.after(*each); each != nullptr; each = to.desk.groups.after(*each)) {
            if (to.text.room() < room_for_crumbs + 2 * room_for_a_frame) {
                ++left;
                continue;
            }
            to.text.text(more ? "," : "").text(R"({"id":)").decimal(each->thread).text(R"(,"name":)");
            to.text.json(each->name).character('}');
            more = true;
        }
        to.text.character(']');
        if (left != 0) to.text.text(R"(,"also_unlisted":)").decimal(left);
    }

    static void crumbs(report_sheet& to, thread_view const& of) noexcept {
        bool any = false;
        unsigned const all = each_crumb_of(to, of.thread, [&](crumb const& one) noexcept {
            if (to.text.room() < 2 * room_for_a_frame) return;
            to.text.text(any ? "," : R"(,"trace":[)").text(R"({"what":)").json(one.what.data, one.what.size);
            if (one.kind == detail_kind::text || one.kind == detail_kind::counted_text)
                to.text.text(R"(,"detail":)").json(one.detail.data, one.detail.size);
            if (one.kind == detail_kind::number)
                to.text.text(R"(,"detail":)").decimal(static_cast<std::int64_t>(one.number));
            if (one.kind == detail_kind::unsigned_number) to.text.text(R"(,"detail":)").decimal(one.number);
            to.text.text(R"(,"function":)").json(one.function.data, one.function.size).text(R"(,"file":)");
            to.text.json(one.file.data, one.file.size).text(R"(,"line":)").decimal(one.line).character('}');
            any = true;
        });
        if (any) to.text.text(R"(],"trace_depth":)").decimal(all);
    }

    // A line that is nearly full is ended, and another one goes on with the same thread.
    static void frames(report_sheet& to, thread_view const& of) noexcept {
        to.text.text(R"(,"frames":[)");
        bool more = false;
        for (std::size_t i = 0; i < of.walked->frames; ++i) {
            if (to.text.room() < room_for_a_frame) {
                to.out.put(to.text.text("]}"));
                to.text.text(R"({"type":"frames","thread":)").decimal(of.thread).text(R"(,"frames":[)");
                more = false;
            }
            frame_view const shown = view_of(to.desk, of.frames[i]);
            to.text.text(more ? "," : "").text(R"({"number":)").decimal(of.number_of(i));
            to.text.text(R"(,"pc":")").hexadecimal(shown.pc).character('"');
            if (shown.name != nullptr)
                to.text.text(R"(,"function":)")
                    .json(shown.name, shown.name_size, 1024)
                    .text(R"(,"offset":)")
                    .decimal(shown.offset);
            if (shown.module != nullptr)
                to.text.text(R"(,"object":)")
                    .json(shown.module)
                    .text(R"(,"object_offset":")")
                    .hexadecimal(shown.in_module)
                    .character('"');
            to.text.character('}');
            more = true;
        }
        to.out.put(to.text.text("]}"));
    }
};

}  // namespace tocsin::in_signal
