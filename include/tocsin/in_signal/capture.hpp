// SPDX-License-Identifier: MIT
// The stack of another thread of this process.
//
// Runs in the handler, and on any ordinary thread. A thread that waits is read where it waits and not disturbed; one
// that runs is sent the library's reserved signal and stores its own frames. Who does not answer in time is given up;
// a late answer finds its place taken away and writes nothing.
#pragma once

#include <errno.h>

#include <tocsin/in_signal/slot.hpp>
#include <tocsin/in_signal/tasks.hpp>
#include <tocsin/in_signal/unwind.hpp>

namespace tocsin::in_signal {

inline constexpr std::uint32_t most_frames = 256;  // of one thread, whatever the program's limit

enum class stack_source : unsigned char {
    signalled,     // the thread stored it itself
    waiting,       // read while it waited
    moved,         // the same, but it went on meanwhile: may be wrong
    gone,          // the thread has ended
    blocked,       // it neither waits nor lets the signal in
    no_answer,     // it neither waits nor answers
    refused,       // the signal could not be sent
};

struct stack {
    stack_source source;
    walk walked;
    frame frames[most_frames];
};

enum request_state : std::uint32_t { request_free, request_asked, request_answering, request_answered };

struct capture_request {
    atomic<std::uint32_t> state;
    atomic<std::int32_t> thread;
    std::uint32_t limit;
    stack result;
};

inline constexpr unsigned capture_requests = 4;

// Of the process; one report at a time uses it.
struct capture_desk {
    capture_request requests[capture_requests];
    known_rows rows;  // of a pass, which is a report
};

// Answers a request to this thread, on the thread itself.
inline bool answer_capture(capture_desk& desk, arrival& a) noexcept {
    int const self = gettid();
    for (capture_request& each : desk.requests) {
        if (each.thread.load() != self || !each.state.replace(request_asked, request_answering)) continue;
        if (each.thread.load() != self) {  // taken back and given to another thread between the two looks
            each.state.store(request_asked);
            continue;
        }
        careful_reader memory;
        each.result.walked = unwind(registers_of(*a.context), each.result.frames, each.limit, memory, &desk.rows);
        each.result.source = stack_source::signalled;
        each.state.store(request_answered);
        futex_wake(each.state.address(), 1);
        return true;
    }
    return false;
}

inline capture_request* free_request(capture_desk& desk) noexcept {
    for (capture_request& each : desk.requests) {
        each.state.replace(request_answered, request_free);  // an answer that came too late
        if (each.state.load() == request_free) return &each;
    }
    return nullptr;
}

// Waits until the answer is there or the time is up; false if the request was taken back unanswered.
inline bool await_answer(capture_request& request, int thread, std::uint64_t deadline) noexcept {
    constexpr std::uint64_t between_looks = 2'000'000;
    for (;;) {
        std::uint32_t const state = request.state.load();
        if (state == request_answered) return true;
        bool const late = monotonic() >= deadline;
        bool const ended = state == request_asked && tgkill(getpid(), thread, 0) != 0;
        if ((late || ended) && request.state.replace(request_asked, request_free)) return false;
        if (late && monotonic() >= deadline + 50 * between_looks) return false;  // stuck while answering: lost place
        futex_wait(request.state.address(), state, between_looks);
    }
}

// True while a claim of the reserved signal is in force; to anybody else the signal is the end of the process. That
// ends only between reports (report_turn).
inline bool is_answered(table& in) noexcept {
    int const number = in.reserved_signal.load();
    link const* const newest = number != 0 ? in.slots[number].newest.load() : nullptr;
    if (newest == nullptr || !newest->is_claim()) return false;
    disposition live{};
    if (change_action(number, nullptr, &live) != 0) return false;
    return live.handler != SIG_DFL && live.handler != SIG_IGN && live.handler == newest->action.handler;
}

[[gnu::visibility("hidden")]] inline constexpr int idle_signals[] = {SIGURG, SIGWINCH};

// At the limit of queued signals (RLIMIT_SIGPENDING) the kernel refuses real-time ones, and still delivers standard
// ones. One that nobody has a use for, and that is ignored by default, is borrowed until the report is written; it gets
// what the reserved signal has. 0 if there is none.
inline int second_choice(table& in) noexcept {
    if (int const chosen = in.second_signal.load()) return chosen;
    disposition wanted{};
    if (in.capture.load() == nullptr || change_action(in.reserved_signal.load(), nullptr, &wanted) != 0) return 0;
    for (int const candidate : idle_signals) {
        disposition found{};
        if (in.slots[candidate].newest.load() != nullptr || change_action(candidate, nullptr, &found) != 0 ||
            found.handler != SIG_DFL)
            continue;
        in.second_signal.store(candidate);
        if (change_action(candidate, &wanted, nullptr) == 0) return candidate;
        in.second_signal.store(0);
    }
    return 0;
}

// What is still pending is ignored from now on, as it would have been.
inline void give_back_second_choice(table& in) noexcept {
    int const borrowed = in.second_signal.load();
    if (borrowed == 0) return;
    disposition live{};
    disposition ours{};
    change_action(borrowed, nullptr, &live);
    change_action(in.reserved_signal.load(), nullptr, &ours);
    disposition const by_default{SIG_DFL, 0, nullptr, 0};
    if (live.handler == ours.handler) change_action(borrowed, &by_default, nullptr);
    in.second_signal.store(0);
}

inline int ask_thread(table& in, int thread) noexcept {
    int const sent = tgkill(getpid(), thread, in.reserved_signal.load());
    if (sent != -EAGAIN) return sent;
    int const second = second_choice(in);
    return second != 0 && !blocks(thread, second) ? tgkill(getpid(), thread, second) : sent;
}

inline void capture_by_signal(table& in, capture_desk& desk, int thread, std::uint32_t limit, std::uint64_t patience,
                              stack& to) noexcept {
    to.source = tgkill(getpid(), thread, 0) == -ESRCH ? stack_source::gone : stack_source::refused;
    if (to.source == stack_source::gone || !is_answered(in)) return;
    to.source = stack_source::no_answer;
    capture_request* const request = free_request(desk);
    if (request == nullptr) return;
    request->limit = limit;
    request->thread.store(thread);
    request->state.store(request_asked);
    int const sent = ask_thread(in, thread);
    if (sent != 0) {
        request->state.store(request_free);
        to.source = sent == -ESRCH ? stack_source::gone : stack_source::refused;
        return;
    }
    if (!await_answer(*request, thread, monotonic() + patience)) {
        if (tgkill(getpid(), thread, 0) != 0) to.source = stack_source::gone;
        return;
    }
    __builtin_memcpy(&to, &request->result, offsetof(stack, frames) + sizeof(frame) * request->result.walked.frames);
    request->thread.store(0);
    request->state.store(request_free);
}

// Reads a thread that waits, and looks again afterwards whether it still does.
inline bool capture_waiting(capture_desk& desk, int thread, std::uint32_t limit, stack& to,
                            int tasks = AT_FDCWD) noexcept {
    waiting_place const place{thread, tasks};
    waiting_at const before = place.look();
    if (!before.known) return false;
    careful_reader memory;
    to.walked = unwind(registers_at(before.pc, before.sp), to.frames, limit, memory, &desk.rows);
    waiting_at const after = place.look();
    bool const same = after.known && after.pc == before.pc && after.sp == before.sp;
    to.source = same ? stack_source::waiting : stack_source::moved;
    return true;
}

// The stack of `thread`, which is not the calling one. Takes at most `patience` nanoseconds and a little. A thread
// that blocks the signal is not sent it, or it would find it waiting whenever it opens its mask; but most only do so
// for a moment, in a handler. `tasks` as each_task() gives it.
inline void capture(table& in, capture_desk& desk, int thread, std::uint32_t limit, std::uint64_t patience,
                    stack& to, int tasks = AT_FDCWD) noexcept {
    std::uint64_t deadline = 0;  // the clock is not asked about a thread that waits
    for (;;) {
        to.walked = {};
        bool const has_stack = capture_waiting(desk, thread, limit, to, tasks);
        if (has_stack && to.source == stack_source::waiting) return;
        if (deadline == 0) deadline = monotonic() + patience;
        if (!has_stack && has_ended(thread)) {
            to.source = stack_source::gone;
            return;
        }
        if (!blocks(thread, in.reserved_signal.load())) break;
        if (!has_stack) to.source = stack_source::blocked;
        if (monotonic() >= deadline) return;
        timespec const moment{0, 1'000'000};
        system_call(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, as_word(&moment), 0);
    }
    std::uint64_t const now = monotonic();
    // It may sleep by now; a thread that sleeps is not to be woken.
    for (int look = 0; look < 4; ++look)
        if (capture_waiting(desk, thread, limit, to, tasks) && to.source == stack_source::waiting) return;
    bool const moved = to.walked.frames != 0;
    capture_by_signal(in, desk, thread, limit, now < deadline ? deadline - now : 0, to);
    if (moved && to.source > stack_source::gone) to.source = stack_source::moved;
}

}  // namespace tocsin::in_signal
