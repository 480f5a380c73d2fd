// SPDX-License-Identifier: MIT
// What is left of a report that faults or hangs outside of its steps: less and less, but never nothing.
//
// Runs in the handler.
#pragma once

#include <tocsin/in_signal/report.hpp>
#include <tocsin/in_signal/report_target.hpp>

namespace tocsin::in_signal {

inline constexpr std::uint64_t last_patience = 1'000'000'000;  // for each of these
inline constexpr std::uint64_t whole_patience = 8'000'000'000;  // for the report; its steps have limits of their own

// Uses neither the report's memory nor names: the stack that the report is about, as addresses in objects.
inline void write_raw_report(table& in, report_order const& order, int fd) noexcept {
    output out{fd, last_patience};
    fixed_line<2048> text;
    out.put(text);
    out.put(text.text("tocsin: the report ended in a fault of its own"));
    bool const has_context = order.context != nullptr;
    if (!has_context && order.from == nullptr) return;
    text.text("tocsin: ");
    if (order.info != nullptr && order.signal != 0) append_cause(text, order.signal, *order.info).text(", ");
    text.text("thread ").decimal(order.thread != 0 ? order.thread : gettid()).text(", raw:");
    constexpr std::size_t most = 32;
    frame frames[most];
    careful_reader memory;
    std::size_t const limit = in.limit.frames < most ? in.limit.frames : most;
    registers const from = has_context ? registers_of(*order.context) : *order.from;
    walk const walked = unwind(from, frames, limit, memory);
    for (std::size_t i = 0; i < walked.frames; ++i) {
        module_info const module = module_of(name_book::instruction(frames[i]));
        text.text(i == 0 ? " " : " < ");
        append_base_name(text, !module.found ? "?" : *module.path != '\0' ? module.path : "the program");
        text.character('+').hexadecimal(frames[i].pc - (module.found ? module.bias : 0));
    }
    out.put(text);
}

inline void write_one_line(report_order const& order, int fd) noexcept {
    output out{fd, last_patience};
    fixed_line<128> text;
    text.text("tocsin: ").text(order.signal != 0 ? name(order.signal).c_str() : "report").text(" in process ");
    out.put(text.decimal(getpid()).text(", and no more can be said"));
}

// The whole report; what a fault leaves of it; a line. Answers an errno, or 0.
inline int write_in_steps(table& in, report_desk& desk, report_order const& order, int fd,
                          report_writer writer) noexcept {
    int result = EFAULT;
    auto const write_it = [&]() noexcept { result = writer(in, desk, order, fd); };
    kernel_set before = 0;
    change_mask(SIG_BLOCK, nullptr, &before);
    bool const limited = desk.clock_signal != 0;
    bool const whole =
        limited ? attempt_within(desk.steps, desk.whole_clock, desk.clock_signal, whole_patience, write_it)
                : attempt(desk.steps, write_it);
    give_back_second_choice(in);
    if (whole) return result;
    if (limited) detail::stop(desk.clock);
    change_mask(SIG_SETMASK, &before, nullptr);
    keep_mask(desk.steps);
    if (!step(desk, 2 * last_patience, [&]() noexcept { write_raw_report(in, order, fd); }))
        step(desk, 2 * last_patience, [&]() noexcept { write_one_line(order, fd); });
    return EFAULT;
}

// To where its row says. What cannot be written to its file goes to the descriptor beside it.
inline void write_to_target(table& in, report_desk& desk, report_order const& order, report_target& target,
                            report_writer writer) noexcept {
    bool const given_back = target.reserve.give_back_if_needed();
    int const fd = open_report(target);
    int const error = write_in_steps(in, desk, order, fd, writer);
    bool const no_room = error == ENOSPC || error == EDQUOT || error == EFBIG || error == EIO;
    if (no_room && fd != target.out.fd && target.usable_fd() >= 0)
        write_in_steps(in, desk, order, target.usable_fd(), writer);
    close_report(target, fd);
    if (given_back) target.reserve.open();
}

}  // namespace tocsin::in_signal
