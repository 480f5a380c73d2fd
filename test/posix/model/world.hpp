// SPDX-License-Identifier: MIT
// A process with one signal, a few threads and a kernel, all in one block of memory that can be copied and put back.
//
// Runs in the model only. The threads are contexts of this one thread. The library's code runs in them unchanged;
// only its words, its system calls and sigaction(2) are replaced (the headers beside this one). A signal is delivered
// to a thread on that thread's own stack, between two of its steps, as the kernel does it.
// It cannot see what happens between two plain memory accesses, nor orders weaker than sequential consistency.
#pragma once

#include <ucontext.h>

#include <cstring>

#include <tocsin/in_signal/entry.hpp>
#include <tocsin/posix/registry.hpp>

namespace model {

using namespace tocsin;
using in_signal::bit_of;

inline constexpr int signal_number = 10;
inline constexpr int max_threads = 3;
inline constexpr int max_claims = 3;
inline constexpr int max_foreign = 3;
inline constexpr int max_deliveries = 4;
inline constexpr std::size_t stack_size = 65536;

// What the kernel holds, which is exchanged as a whole.
struct kernel_disposition {
    void (*handler)(int);
    unsigned long flags;
    in_signal::kernel_set mask;
};

// One signal on its way. `order` names who has seen it: claims A B C, foreign handlers F G H, i for ignored.
struct delivery_record {
    bool under_way;
    unsigned covered;  // claims that were there before it was sent
    int seen;
    char order[16];
};

struct model_claim {
    in_signal::link link;
    in_signal::verdict answer;
    int inside;
    bool ignores;  // without a handler
    bool installed;
    bool destroyed;  // its guard is gone: nobody may touch the link
};

struct model_foreign {
    kernel_disposition own;
    kernel_disposition found;  // what its sigaction(2) answered
    bool chains;               // calls what it found
    bool copies;               // and passes a siginfo of its own
    bool installed;
};

struct waited_word {
    void const* word;
    std::size_t size;
    std::uint64_t value;
};

struct model_thread {
    ucontext_t context;
    char* low;       // the stack is in use from here
    void const* at;  // the word that it stops in front of
    void (*program)();
    int id;
    int depth;    // of deliveries
    int current;  // the innermost delivery
    bool done;
    bool vanished;
    bool waiting;
    bool spinning;
    bool resend;  // a signal for this thread alone is pending
    in_signal::kernel_set mask;
    waited_word waits[4];
    int wait_count;
};

struct world {
    in_signal::table table;
    in_signal::operations operations;
    in_signal::atomic<std::int32_t> live_process;
    kernel_disposition kernel;
    std::int32_t process;
    bool ended;      // by a signal's default
    bool last_sent;  // the delivery that every end of a schedule is tried with
    bool interrupt;  // the thread that goes on takes a delivery first
    bool all_chain;  // every claim and every foreign handler passes the signal on
    bool may_be_ignored;
    bool called_directly;  // the handler that begins, by another one, which cannot give it its mask
    bool strict_removal;   // no handler that was taken away is called by anybody
    int most_rounds;       // how often a delivery may come to the same handler
    unsigned long flags;   // that claims ask for besides
    int budget;            // deliveries still to come
    int sent;
    unsigned interruptible;  // threads
    unsigned gone;           // foreign handlers that have been taken away
    int newest_foreign;
    bool entry_returned;  // by a foreign handler that found it, perhaps after the last claim
    char const* failed;
    model_claim claims[max_claims];
    model_foreign foreign[max_foreign];
    delivery_record deliveries[max_deliveries];
    model_thread threads[max_threads];
};

alignas(64) inline world now;
alignas(64) inline char stacks[max_threads][stack_size];
inline ucontext_t explorer_context;
inline int self = -1;  // the thread that runs; -1 for the explorer

// The explorer sets scenarios up as thread 0.
inline int self_or_first() noexcept { return self < 0 ? 0 : self; }
inline model_thread& me() noexcept { return now.threads[self_or_first()]; }

// Words that one thread or handler alone uses, or that nobody writes, need no step of their own. What is shared is
// learned: as soon as a word turns out to be, the exploration starts again.
struct sharing {
    unsigned short users[sizeof(world) / 4];  // threads, and handlers in them
    bool written[sizeof(world) / 4];
    bool learned;

    bool shared(std::size_t i) const noexcept { return written[i] && (users[i] & (users[i] - 1)) != 0; }
    void use(void const* word, bool write) noexcept {
        std::size_t const i = index(word);
        if (self < 0 || i >= sizeof written) return;
        bool const known = shared(i);
        users[i] =
            static_cast<unsigned short>(users[i] | 1U << (3 * self + (me().depth < 2 ? me().depth : 2)));
        if (write) written[i] = true;
        if (shared(i) && !known) learned = true;
    }
    bool is_shared(void const* word) const noexcept {
        std::size_t const i = index(word);
        return i < sizeof written && shared(i);
    }
    static std::size_t index(void const* word) noexcept {
        auto const offset = reinterpret_cast<std::uintptr_t>(word) - reinterpret_cast<std::uintptr_t>(&now);
        return static_cast<std::size_t>(offset / 4);
    }
};
inline sharing words;

// Gives the turn back to the explorer. All registers that a caller may rely on are on the stack by then, so that
// what the thread knows is what its stack holds.
[[gnu::noinline]] inline void give_turn() noexcept {
    __builtin_unwind_init();
    model_thread& thread = me();
    thread.low = static_cast<char*>(__builtin_alloca(16));
    std::memset(thread.low, 0, 16);
    ::swapcontext(&thread.context, &explorer_context);
}

inline void fail(char const* why) noexcept {
    if (now.failed == nullptr) now.failed = why;
    while (self >= 0) give_turn();
}

void take_signal() noexcept;

inline void stop_at(void const* word) noexcept {
    if (self < 0) return;
    for (;;) {
        me().at = word;
        give_turn();
        if (!now.interrupt) return;
        now.interrupt = false;
        bool const waiting = me().waiting;
        me().waiting = false;
        take_signal();
        me().waiting = waiting;
    }
}

inline void before(void const* word) noexcept {
    if (self < 0) return;
    words.use(word, false);
    if (words.is_shared(word) && !me().spinning) stop_at(word);
    for (model_claim const& each : now.claims)
        if (each.destroyed && word == &each.link.older) fail("somebody reads a link whose guard is gone");
}

inline void read(void const* word, std::size_t size, std::uint64_t value) noexcept {
    if (self < 0 || me().depth != 0) return;
    model_thread& thread = me();
    if (thread.wait_count == 4) {
        std::memmove(&thread.waits[0], &thread.waits[1], 3 * sizeof(waited_word));
        --thread.wait_count;
    }
    thread.waits[thread.wait_count++] = {word, size, value};
}

inline void wrote(void const* word) noexcept { words.use(word, true); }

inline void spin() noexcept {
    me().spinning = true;
    me().wait_count = 0;
}

inline bool has_changed(model_thread const& thread) noexcept {
    for (int i = 0; i < thread.wait_count; ++i) {
        std::uint64_t value = 0;
        std::memcpy(&value, thread.waits[i].word, thread.waits[i].size);
        if (value != thread.waits[i].value) return true;
    }
    return false;
}

inline void wait_for_change() noexcept {
    if (me().depth != 0) return fail("a handler waits");
    me().spinning = false;
    me().waiting = true;
    stop_at(nullptr);
    me().waiting = false;
    me().wait_count = 0;
}

inline std::int32_t process() noexcept { return now.process; }
inline std::int32_t thread() noexcept { return me().id; }
// Neighbouring cells, so that a thread that is inside twice meets another's.
inline std::uintptr_t thread_pointer() noexcept {
    return static_cast<std::uintptr_t>(self_or_first() + 1) << 6;
}

// Deliveries.

inline delivery_record& current() noexcept { return now.deliveries[me().current]; }

inline void saw(char who) noexcept {
    delivery_record& record = current();
    int before_this = 0;
    for (int i = 0; i < record.seen; ++i) before_this += record.order[i] == who;
    if (before_this == now.most_rounds || record.seen + 1 == sizeof record.order)
        return fail("a delivery goes round");
    record.order[record.seen++] = who;
}

inline in_signal::verdict run_claim(in_signal::link& of, in_signal::arrival&) noexcept {
    auto& claim = *reinterpret_cast<model_claim*>(&of);
    ++claim.inside;
    before(&claim.destroyed);
    if (claim.destroyed) fail("a reaction runs whose guard is gone");
    saw(static_cast<char>('A' + (&claim - now.claims)));
    --claim.inside;
    return claim.answer;
}

inline bool is_handler(kernel_disposition const& of) noexcept {
    return of.handler != SIG_DFL && of.handler != SIG_IGN;
}

inline void entry(int signal, siginfo_t* info, void* context) { in_signal::enter(signal, info, context); }

// A handler of somebody else, which calls what it replaced.
template <int Number>
void foreign_function(int signal, siginfo_t* info, void* context) {
    model_foreign const& own = now.foreign[Number];
    bool const masked = now.called_directly || (me().mask & own.own.mask) == own.own.mask;
    if (!masked) fail("a foreign handler runs without its mask");
    now.called_directly = false;
    // A claim that is being made, or given back, over a handler that goes can still lead to it; no later one.
    if ((now.last_sent || now.strict_removal) && (now.gone >> Number & 1) != 0)
        fail("a foreign handler is called after it was taken away");
    saw(static_cast<char>('F' + Number));
    if (!own.chains || !is_handler(own.found)) return;
    siginfo_t copy = *info;
    now.called_directly = own.found.handler != in_signal::as_handler(&entry);
    in_signal::as_foreign_entry(own.found.handler)(signal, own.copies ? &copy : info, context);
}

inline unsigned installed_claims() noexcept {
    unsigned bits = 0;
    for (int i = 0; i < max_claims; ++i)
        if (now.claims[i].installed) bits |= 1U << i;
    return bits;
}

// Claims that were there all the time while the delivery went on, and have not seen it.
inline unsigned passed_over() noexcept {
    unsigned bits = current().covered & installed_claims();
    for (int i = 0; i < current().seen; ++i)
        if (char const who = current().order[i]; who >= 'A' && who < 'A' + max_claims)
            bits &= ~(1U << (who - 'A'));
    return bits;
}

inline void end_process() noexcept {
    if (passed_over() != 0) fail("the process ends by a signal that is claimed");
    now.ended = true;
    for (;;) give_turn();
}

inline void call_handler(kernel_disposition const& found) noexcept {
    model_thread& thread = me();
    in_signal::kernel_set const self_bit = bit_of(signal_number);
    siginfo_t info{};
    info.si_signo = signal_number;
    ucontext_t context{};
    in_signal::set_interrupted_mask(context, thread.mask);
    thread.mask |= found.mask | ((found.flags & SA_NODEFER) != 0 ? 0 : self_bit);
    if ((found.flags & SA_RESETHAND) != 0) now.kernel.handler = SIG_DFL;
    in_signal::as_foreign_entry(found.handler)(signal_number, &info, &context);
    thread.mask = in_signal::interrupted_mask(context);
}

// The kernel looks the disposition up and starts the handler: one step.
inline void deliver_once() noexcept {
    kernel_disposition const found = now.kernel;
    words.use(&now.kernel, false);
    if (found.handler == SIG_DFL) end_process();
    if (found.handler == SIG_IGN)
        saw('i');
    else
        call_handler(found);
}

inline void take_signal() noexcept {
    model_thread& thread = me();
    int const interrupted = thread.current;
    thread.current = now.sent++ % max_deliveries;
    delivery_record& record = current();
    record = {true, installed_claims(), 0, {}};
    ++thread.depth;
    deliver_once();
    while (thread.resend && (thread.mask & bit_of(signal_number)) == 0) {
        thread.resend = false;
        deliver_once();
    }
    --thread.depth;
    if (record.seen == 0 && !now.may_be_ignored) fail("a delivery is lost");
    if (now.all_chain && passed_over() != 0) fail("a delivery passes a claim over");
    record.under_way = false;
    thread.current = interrupted;
}

inline int send_to_thread(int) noexcept {
    me().resend = true;
    return 0;
}

// sigaction(2): one step.
inline kernel_disposition exchange_kernel(kernel_disposition const* wanted) noexcept {
    before(&now.kernel);
    kernel_disposition const found = now.kernel;
    if (wanted == nullptr) return found;
    now.kernel = *wanted;
    wrote(&now.kernel);
    return found;
}

}  // namespace model

namespace tocsin::in_signal {

inline int change_mask(int how, kernel_set const* set, kernel_set* old) noexcept {
    kernel_set& mask = model::me().mask;
    if (old != nullptr) *old = mask;
    if (set == nullptr) return 0;
    mask = how == SIG_BLOCK ? mask | *set : how == SIG_UNBLOCK ? mask & ~*set : *set;
    return 0;
}

inline int change_action(int, kernel_action const* action, kernel_action* old) noexcept {
    model::kernel_disposition wanted{};
    if (action != nullptr) wanted = {action->handler, action->flags, action->mask};
    model::kernel_disposition const found = model::exchange_kernel(action != nullptr ? &wanted : nullptr);
    if (old != nullptr) *old = {found.handler, found.flags, nullptr, found.mask};
    return 0;
}

}  // namespace tocsin::in_signal

namespace model {

// What the threads of a scenario do.

inline bool same(kernel_disposition const& left, kernel_disposition const& right) noexcept {
    return left.handler == right.handler && left.flags == right.flags && left.mask == right.mask;
}

inline void claim(int number) noexcept {
    stop_at(nullptr);
    model_claim& own = now.claims[number];
    own.destroyed = false;
    own.link.run = &run_claim;
    auto const handler = own.ignores ? SIG_IGN : in_signal::as_handler(&entry);
    unsigned long const flags = SA_SIGINFO | SA_RESTART | now.flags;
    own.link.action = {handler, flags, nullptr, bit_of(20 + number)};
    if (posix::claim_signal(now.table, signal_number, own.link)) fail("a claim is refused");
    own.installed = true;
}

inline void withdraw(int number) noexcept {
    stop_at(nullptr);
    model_claim& own = now.claims[number];
    own.installed = false;
    for (delivery_record& each : now.deliveries) each.covered &= ~(1U << number);
    posix::withdraw_signal(now.table, signal_number, own.link);
    if (own.inside != 0) fail("a withdrawal returns while a thread is inside");
    own.destroyed = true;
    wrote(&own.destroyed);
}

inline void install(int number, bool chains = true) noexcept {
    model_foreign& own = now.foreign[number];
    own.chains = chains;
    now.all_chain = now.all_chain && chains;
    own.found = exchange_kernel(&own.own);
    own.installed = true;
    now.newest_foreign = number;
    for (int i = 0; i < max_foreign && !chains; ++i) {
        if (i == number) continue;
        now.foreign[i].installed = false;  // nobody calls it any more
        if (own.found.handler == now.foreign[i].own.handler) now.gone |= 1U << i;
    }
}

// Leaves as a careful program does: only if nobody came after it.
inline void uninstall(int number) noexcept {
    model_foreign& own = now.foreign[number];
    before(&now.kernel);
    if (now.kernel.handler != own.own.handler) return;
    now.kernel = own.found;
    wrote(&now.kernel);
    own.installed = false;
    now.gone |= 1U << number;
    now.entry_returned = now.entry_returned || own.found.handler == in_signal::as_handler(&entry);
}

// The thread goes on in the child; nobody else does.
inline void fork_child(int deliveries) noexcept {
    stop_at(nullptr);
    before(now.live_process.address());
    *now.live_process.address() = 0;
    wrote(now.live_process.address());
    ++now.process;
    me().id = now.process;
    now.budget = deliveries;
    now.interruptible = 1U << self_or_first();
    for (model_thread& each : now.threads)
        if (&each != &me()) each.vanished = true;
    for (model_claim& each : now.claims) each.inside = 0;
}

}  // namespace model
