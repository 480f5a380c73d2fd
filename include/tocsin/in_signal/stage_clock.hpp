// SPDX-License-Identifier: MIT
// A signal for the calling thread if a step takes too long.
//
// Runs in the handler, and on any ordinary thread. The means is a POSIX timer that signals this thread alone; where
// the kernel refuses one (EAGAIN at RLIMIT_SIGPENDING, EPERM under a sandbox), a thread that lives in registers alone,
// waits on a futex and then sends the signal. Neither needs a heap, a lock or libc. The signal must have a handler and
// be unblocked on this thread; the handler asks is_stage_signal() whether it is one of these, and end_stage() ends the
// step that attempt_within() runs.
//
// alarm(2) and setitimer(2) are left alone: they belong to the program, and signal the process instead of the thread.
// The kernel merges standard signals: a foreign one of the same number that is pending takes the place of this one, so
// a handler should call end_stage() whatever has arrived. Time is CLOCK_MONOTONIC: it stands while the machine is
// suspended. Under ThreadSanitizer, which puts signals off until a libc call, a step that makes none is not ended.
#pragma once

#include <errno.h>
#include <signal.h>
#include <time.h>

#include <cstddef>
#include <cstdint>

#include <tocsin/in_signal/atomic.hpp>
#include <tocsin/in_signal/recover.hpp>
#include <tocsin/in_signal/system.hpp>

#if defined(__x86_64__)
#include <tocsin/in_signal/stage_clock_x86_64.hpp>
#elif defined(__aarch64__)
#include <tocsin/in_signal/stage_clock_aarch64.hpp>
#else
#error "tocsin supports Linux on x86-64 and aarch64"
#endif

namespace tocsin::in_signal {

inline constexpr std::uint64_t sender_patience = 1'000'000'000;  // for the sending thread to leave, in ns

enum class stage_means : unsigned char { none, timer, thread };

// What the sending thread reads; its code knows the places by number.
struct stage_orders {
    atomic<std::uint32_t> state;   // a count of clocks times 4, plus one of the phases
    atomic<std::uint32_t> sender;  // its thread id; 0 once it touches nothing more
    std::uint32_t armed;           // the state that it waits in
    std::int32_t process;
    std::int32_t thread;
    std::int32_t signal;
    timespec until;
    siginfo_t info;
};

// The memory of one clock after the other, 512 bytes; zero-initialised it is ready. It must outlive the process's
// threads: a sender that is not scheduled for a second is left behind, and told apart by the next clock.
struct stage_memory {
    stage_orders orders;
    std::uint64_t deadline;
    stage_means means;
    std::int32_t timer;
    unsigned level;  // of the attempt that the clock is for
    alignas(16) unsigned char no_stack[256];  // zeros for who walks up the sender's stack, which is never used
};

namespace detail {

inline constexpr std::uint32_t idle = 0;
inline constexpr std::uint32_t armed = 1;
inline constexpr std::uint32_t expired = 2;    // the sender sends
inline constexpr std::uint32_t cancelled = 3;  // after that

constexpr std::uint32_t phase(std::uint32_t state) noexcept { return state & 3U; }

static_assert(offsetof(stage_orders, state) == 0);
static_assert(offsetof(stage_orders, sender) == 4);
static_assert(offsetof(stage_orders, armed) == 8);
static_assert(offsetof(stage_orders, process) == 12);
static_assert(offsetof(stage_orders, thread) == 16);
static_assert(offsetof(stage_orders, signal) == 20);
static_assert(offsetof(stage_orders, until) == 24);
static_assert(offsetof(stage_orders, info) == 40);

// struct sigevent as the kernel reads it (include/uapi/asm-generic/siginfo.h); libc does not name the thread's member.
struct event {
    std::uintptr_t value;
    std::int32_t signal;
    std::int32_t notify;
    std::int32_t thread;
    std::int32_t unused[11];
};

inline constexpr std::int32_t to_thread = 4;  // SIGEV_THREAD_ID

// What the siginfo carries: whose memory, and which of its clocks.
inline std::uintptr_t owner_mark(stage_memory const& of) noexcept {
    return reinterpret_cast<std::uintptr_t>(&of) << 16;
}
inline std::uintptr_t mark(stage_memory const& of, std::uint32_t state) noexcept {
    return owner_mark(of) | (state >> 2 & 0xffffU);
}

// A clock around this one may end the step anywhere here and in stop(): what is about to be made is noted beforehand,
// and struck out when it is gone. To delete a timer twice is harmless: the kernel counts their numbers upwards.
inline bool start_timer(stage_memory& in, std::uint32_t state) noexcept {
    stage_orders& to = in.orders;
    in.timer = -1;
    in.means = stage_means::timer;
    event const wanted{mark(in, state), to.signal, to_thread, to.thread, {}};
    if (system_call(SYS_timer_create, CLOCK_MONOTONIC, as_word(&wanted), as_word(&in.timer)) != 0) return false;
    itimerspec const once{{0, 0}, to.until};
    if (system_call(SYS_timer_settime, in.timer, TIMER_ABSTIME, as_word(&once), 0) == 0) return true;
    system_call(SYS_timer_delete, in.timer);
    return false;
}

// clone(2), with the flags of a thread as libc makes it but for one: its thread pointer is ours (CLONE_SETTLS).
inline bool start_thread(stage_memory& in, std::uint32_t state) noexcept {
    constexpr long flags = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 | 0x100000 | 0x200000;
    constexpr long not_a_thread = 0x10000;  // without what it needs: refused by the kernel, and before that by a filter
    stage_orders& to = in.orders;
    if (to.sender.load() != 0) return false;  // of an earlier clock
    // Beforehand, because a filter's SIGSYS ends the process where it is blocked.
    if (system_call(SYS_clone, not_a_thread) != -EINVAL) return false;
    in.means = stage_means::thread;
    to.armed = state;
    to.info = siginfo_t{};
    to.info.si_signo = to.signal;
    to.info.si_code = SI_QUEUE;
    to.info.si_pid = to.process;
    to.info.si_uid = static_cast<uid_t>(system_call(SYS_getuid));
    to.info.si_value.sival_ptr = reinterpret_cast<void*>(mark(in, state));
    kernel_set const all = ~kernel_set{0};
    kernel_set before = 0;
    if (change_mask(SIG_SETMASK, &all, &before) != 0) return false;
    long const made = machine::start_sender(flags, in.no_stack, &to);
    change_mask(SIG_SETMASK, &before, nullptr);
    return made > 0;
}

// The kernel zeroes the word when the thread ends and wakes who waits for it, not privately to the process.
inline void await_sender(stage_orders& of) noexcept {
    constexpr long wait = 0;
    timespec const step{0, 10'000'000};
    constexpr unsigned most_looks = 100'000;  // where no clock can be read
    std::uint64_t const end = monotonic() + sender_patience;
    for (unsigned look = 0; look < most_looks; ++look) {
        std::uint32_t const who = of.sender.load();
        if (who == 0 || monotonic() >= end) return;
        system_call(SYS_futex, as_word(of.sender.address()), wait, static_cast<long>(who), as_word(&step));
    }
}

// Also of a clock whose scope was stepped back from.
inline void stop(stage_memory& in) noexcept {
    stage_orders& orders = in.orders;
    std::uint32_t state = orders.state.load();
    while (!orders.state.compare_exchange(state, (state & ~3U) | (phase(state) >= expired ? cancelled : idle))) {
    }
    if (orders.process != getpid()) {  // neither timers nor threads come along to a child
        orders.sender.store(0);
    } else if (in.means == stage_means::timer) {
        system_call(SYS_timer_delete, in.timer);
    } else if (in.means == stage_means::thread) {
        futex_wake(orders.state.address(), 1);
        await_sender(orders);
    }
    in.means = stage_means::none;
}

}  // namespace detail

// True for what a clock of this memory has sent, the present one or one that is cancelled: nobody else's signal. At the
// queue limit the sender's arrives without its siginfo, as one from process 0.
inline bool is_stage_signal(stage_memory const& of, siginfo_t const& info) noexcept {
    if (info.si_code == SI_TIMER || info.si_code == SI_QUEUE) {
        auto const value = reinterpret_cast<std::uintptr_t>(info.si_value.sival_ptr);
        return value >> 16 == detail::owner_mark(of) >> 16;
    }
    if (detail::phase(of.orders.state.load()) < detail::expired || info.si_signo != of.orders.signal) return false;
    if (info.si_code == SI_USER) return info.si_pid == 0;
    return info.si_code == SI_TKILL && info.si_pid == of.orders.process;
}

// True if a clock of this memory is armed for this thread, and its time is up.
inline bool is_due(stage_memory const& of) noexcept {
    std::uint32_t const now = detail::phase(of.orders.state.load());
    if (now != detail::armed && now != detail::expired) return false;
    return of.orders.thread == gettid() && monotonic() >= of.deadline;
}

// The thread that waits to send, for who lists the threads of the process; 0 if there is none.
inline int sender_of(stage_memory const& of) noexcept { return static_cast<int>(of.orders.sender.load()); }

// One clock of a memory at a time: a new one ends the one before.
class stage_clock {
  public:
    // From now on `signal` (a standard one, or it may be refused at the queue limit) arrives `nanoseconds` later.
    stage_clock(stage_memory& memory, int signal, std::uint64_t nanoseconds) noexcept : memory_{memory} {
        constexpr std::uint64_t longest = std::uint64_t{1} << 62;
        detail::stop(memory);
        std::uint64_t const now = monotonic();
        if (now == 0) return;  // no clock to be had: what would be due is not known
        stage_orders& orders = memory.orders;
        memory.deadline = now + (nanoseconds < longest ? nanoseconds : longest);
        orders.process = getpid();
        orders.thread = gettid();
        orders.signal = signal;
        orders.until.tv_sec = static_cast<time_t>(memory.deadline / 1'000'000'000U);
        orders.until.tv_nsec = static_cast<long>(memory.deadline % 1'000'000'000U);
        state_ = (orders.state.load() & ~3U) + 4 + detail::armed;
        orders.state.store(state_);
        if (detail::start_timer(memory, state_) || detail::start_thread(memory, state_)) return;
        memory.means = stage_means::none;
        orders.state.store(state_ - detail::armed);
    }
    ~stage_clock() { cancel(); }
    stage_clock(stage_clock const&) = delete;
    stage_clock& operator=(stage_clock const&) = delete;

    // False if no means was found: the step goes on without a limit.
    bool armed() const noexcept { return is_mine() && memory_.means != stage_means::none; }
    stage_means means() const noexcept { return is_mine() ? memory_.means : stage_means::none; }

    // Afterwards the means is gone, and a signal that was sent before is no longer due.
    void cancel() noexcept {
        if (is_mine()) detail::stop(memory_);
    }

  private:
    bool is_mine() const noexcept { return state_ != 0 && (memory_.orders.state.load() ^ state_) < 4; }

    stage_memory& memory_;
    std::uint32_t state_ = 0;
};

// attempt() that also ends, with false, when it has taken `nanoseconds`; without a limit where no means is found. A
// signal that comes before the step has begun keeps it from beginning. Where an attempt around this one is stepped back
// to, the clock of this one stays armed until its memory is used again or given to detail::stop().
template <class F>
bool attempt_within(recovery& in, stage_memory& memory, int signal, std::uint64_t nanoseconds, F&& step) noexcept {
    memory.level = attempts_under_way(in) + 1;
    stage_clock const clock{memory, signal, nanoseconds};
    bool begun = false;
    bool const whole = attempt(in, [&]() noexcept {
        begun = !is_due(memory);
        if (begun) step();
    });
    return whole && begun;
}

// In a handler: if the time of attempt_within() is up on this thread, ends it and all attempts within. False, and the
// context untouched, if it is not, or the attempt has not begun or has ended. Of clocks within each other the outermost
// is to be asked first.
inline bool end_stage(recovery& of, stage_memory const& memory, ucontext_t& context) noexcept {
    return is_due(memory) && step_back(of, context, memory.level);
}

}  // namespace tocsin::in_signal
