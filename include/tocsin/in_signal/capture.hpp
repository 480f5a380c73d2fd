// SPDX-License-Identifier: MIT
// The stack of another thread of this process.
//
// Runs in the handler, and on any ordinary thread. A thread that waits is read where it waits and not disturbed; one
// that runs is sent the library's reserved signal and stores its own frames. Many can be asked before the first answer
// is collected: they answer while others are asked, and those that do not answer take their time once. Who does not
// answer in time is given up; a late answer finds its place taken away and writes nothing.
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

// What an asked thread looks for lies on a line of its own, and apart from the answers, which are long.
struct alignas(64) capture_request {
    atomic<std::uint32_t> state;
    atomic<std::int32_t> thread;    // 0 if nobody is going to collect an answer
    atomic<std::uint32_t> awaited;  // somebody sleeps until the state changes
    std::uint32_t limit;
    bool moved;                     // there is a stack in place of the answer: of the thread before it was asked
    std::uint64_t deadline;         // monotonic()
};

inline constexpr unsigned most_asked = 128;        // at the same time
inline constexpr unsigned capture_requests = 256;  // who does not come to an end with its answer keeps its place

// Of the process; one report at a time uses it.
struct capture_desk {
    capture_request requests[capture_requests];
    stack answers[capture_requests];
    std::uint32_t asked;   // and not yet collected
    std::uint32_t newest;  // place of the one that was asked last
    known_rows rows;       // of a pass, which is a report

    // The threads of a process have numbers in a row: mostly each finds its own place first.
    static unsigned place_of(int thread, unsigned attempt) noexcept {
        return (static_cast<unsigned>(thread) + attempt) % capture_requests;
    }
};

// Answers a request to this thread, on the thread itself.
inline bool answer_capture(capture_desk& desk, arrival& a) noexcept {
    int const self = gettid();
    for (unsigned i = 0; i < capture_requests; ++i) {
        unsigned const place = capture_desk::place_of(self, i);
        capture_request& each = desk.requests[place];
        if (each.thread.load() != self || !each.state.replace(request_asked, request_answering)) continue;
        if (each.thread.load() != self) {  // taken back and given to another thread between the two looks
            each.state.store(request_asked);
            continue;
        }
        careful_reader memory;
        stack& to = desk.answers[place];
        to.walked = unwind(registers_of(*a.context), to.frames, each.limit, memory, &desk.rows);
        to.source = stack_source::signalled;
        each.state.store(request_answered);
        if (each.awaited.load() != 0) futex_wake(each.state.address(), 1);
        return true;
    }
    return false;
}

inline capture_request* free_request(capture_desk& desk, int thread) noexcept {
    for (unsigned i = 0; i < capture_requests; ++i) {
        capture_request& each = desk.requests[capture_desk::place_of(thread, i)];
        if (each.thread.load() != 0) continue;
        each.state.replace(request_answered, request_free);  // an answer that came too late
        if (each.state.load() == request_free) return &each;
    }
    return nullptr;
}

// What an earlier report has left behind that did not come to its end.
inline void forget_requests(capture_desk& desk) noexcept {
    desk.asked = 0;
    for (capture_request& each : desk.requests) {
        each.state.replace(request_asked, request_free);
        each.thread.store(0);
    }
}

// Waits until the answer is there, the thread has ended or the time is up; takes nothing back.
inline bool wait_for_answer(capture_request& request, std::uint64_t deadline) noexcept {
    constexpr std::uint64_t between_looks = 2'000'000;
    for (;;) {
        std::uint32_t const state = request.state.load();
        if (state == request_answered) return true;
        if (monotonic() >= deadline) return false;
        if (state == request_asked && tgkill(getpid(), request.thread.load(), 0) != 0) return false;
        request.awaited.store(1);
        futex_wait(request.state.address(), state, between_looks);
        request.awaited.store(0);
    }
}

// False if the request was taken back unanswered, or is stuck while it is answered: then its place is lost.
inline bool await_answer(capture_request& request) noexcept {
    constexpr std::uint64_t to_finish = 100'000'000;
    if (wait_for_answer(request, request.deadline)) return true;
    if (request.state.replace(request_asked, request_free)) return false;
    return wait_for_answer(request, request.deadline + to_finish);
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

inline void copy_stack(stack& to, stack const& from) noexcept {
    __builtin_memcpy(&to, &from, offsetof(stack, frames) + sizeof(frame) * from.walked.frames);
}

// Asks a thread for its stack and does not wait. Null if that cannot be done: `to` says why. What `to` holds of a
// thread that has moved is kept for the case that there is no answer.
inline capture_request* ask_for_stack(table& in, capture_desk& desk, int thread, std::uint32_t limit,
                                      std::uint64_t deadline, stack& to) noexcept {
    if (!is_answered(in)) {
        to.source = tgkill(getpid(), thread, 0) == -ESRCH ? stack_source::gone : stack_source::refused;
        return nullptr;
    }
    to.source = stack_source::no_answer;
    capture_request* const request = free_request(desk, thread);
    if (request == nullptr) return nullptr;
    auto const place = static_cast<std::uint32_t>(request - desk.requests);
    request->moved = to.walked.frames != 0;
    if (request->moved) copy_stack(desk.answers[place], to);
    request->limit = limit;
    request->deadline = deadline;
    request->thread.store(thread);
    request->state.store(request_asked);
    int const sent = ask_thread(in, thread);
    if (sent == 0) {
        ++desk.asked;
        desk.newest = place;
        return request;
    }
    request->state.store(request_free);
    request->thread.store(0);
    to.source = sent == -ESRCH ? stack_source::gone : stack_source::refused;
    return nullptr;
}

// The answer, or why there is none, when it is known.
inline void collect(capture_desk& desk, capture_request& request, stack& to) noexcept {
    int const thread = request.thread.load();
    stack const& answer = desk.answers[&request - desk.requests];
    to.walked = {};
    if (await_answer(request)) {
        copy_stack(to, answer);
        request.state.store(request_free);
    } else {
        to.source = tgkill(getpid(), thread, 0) != 0 ? stack_source::gone : stack_source::no_answer;
        bool const whole = request.moved && request.state.load() == request_free;
        if (whole && to.source != stack_source::gone) {
            copy_stack(to, answer);
            to.source = stack_source::moved;
        }
    }
    request.thread.store(0);
    --desk.asked;
}

// Collects from all that have been asked: calls visit(thread), with its stack in `to`. The one that was asked last is
// waited for first, and the others have mostly answered by then: who waits for each in its turn is woken for each.
// Threads that compute answer when it is their turn on a processor: the more there are, the later the last one. They
// are waited for until `latest` at most, or as long as each was asked with.
template <class Visit>
void collect_all(capture_desk& desk, std::uint64_t latest, stack& to, Visit&& visit) noexcept {
    constexpr std::uint64_t for_each = 100'000'000;
    constexpr std::uint64_t at_most = 1'000'000'000;
    if (desk.asked == 0) return;
    std::uint64_t const turns = for_each * desk.asked;
    std::uint64_t const wanted = monotonic() + (turns < at_most ? turns : at_most);
    std::uint64_t const deadline = wanted < latest ? wanted : latest;
    for (capture_request& each : desk.requests)
        if (each.thread.load() != 0 && each.deadline < deadline) each.deadline = deadline;
    capture_request& newest = desk.requests[desk.newest];
    wait_for_answer(newest, newest.deadline);
    for (capture_request& each : desk.requests) {
        int const thread = each.thread.load();
        if (thread == 0) continue;
        collect(desk, each, to);
        visit(thread);
    }
}

// Reads a thread that waits, and looks again afterwards whether it still does, in the same call. The processor time of
// the thread, which is cheaper to ask for, would not do: a guest's kernel subtracts what its host has taken from it,
// and a thread may have run for nothing (update_rq_clock_task() in kernel/sched/core.c).
inline bool capture_waiting(capture_desk& desk, int thread, std::uint32_t limit, stack& to,
                            int tasks = AT_FDCWD) noexcept {
    waiting_place place{thread, tasks};
    waiting_at const before = place.look();
    if (!before.known) return false;
    careful_reader memory;
    to.walked = unwind(registers_at(before.pc, before.sp), to.frames, limit, memory, &desk.rows);
    to.source = place.still() ? stack_source::waiting : stack_source::moved;
    return true;
}

// Begins with the stack of `thread`, which is not the calling one: it is in `to`, or why there is none; or the thread
// has been asked, and the answer is to be collected. A thread that blocks the signal is waited for, for at most
// `patience` nanoseconds and a little; it is not sent the signal, or it would find it waiting whenever it opens its
// mask; but most only do so for a moment, in a handler. `tasks` as each_task() gives it.
inline capture_request* begin_capture(table& in, capture_desk& desk, int thread, std::uint32_t limit,
                                      std::uint64_t patience, stack& to, int tasks = AT_FDCWD) noexcept {
    std::uint64_t deadline = 0;  // the clock is not asked about a thread that waits
    for (;;) {
        to.walked = {};
        bool const has_stack = capture_waiting(desk, thread, limit, to, tasks);
        if (has_stack && to.source == stack_source::waiting) return nullptr;
        if (deadline == 0) deadline = monotonic() + patience;
        if (!has_stack && has_ended(thread)) {
            to.source = stack_source::gone;
            return nullptr;
        }
        if (!blocks(thread, in.reserved_signal.load())) break;
        if (!has_stack) to.source = stack_source::blocked;
        if (monotonic() >= deadline) return nullptr;
        nap(1'000'000);
    }
    // It may sleep by now; a thread that sleeps is not to be woken.
    for (int look = 0; look < 4; ++look)
        if (capture_waiting(desk, thread, limit, to, tasks) && to.source == stack_source::waiting) return nullptr;
    bool const moved = to.walked.frames != 0;
    capture_request* const asked = ask_for_stack(in, desk, thread, limit, deadline, to);
    if (asked == nullptr && moved && to.source > stack_source::gone) to.source = stack_source::moved;
    return asked;
}

// The same, until the stack is there.
inline void capture(table& in, capture_desk& desk, int thread, std::uint32_t limit, std::uint64_t patience,
                    stack& to, int tasks = AT_FDCWD) noexcept {
    capture_request* const asked = begin_capture(in, desk, thread, limit, patience, to, tasks);
    if (asked != nullptr) collect(desk, *asked, to);
}

}  // namespace tocsin::in_signal
