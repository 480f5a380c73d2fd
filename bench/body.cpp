// SPDX-License-Identifier: MIT
// What does the handler itself cost? It is fetched from the kernel and called as the function that it is.
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>

#include "peers/peer.hpp"
#include "support/measure.hpp"

using namespace tocsin;
using namespace tocsin::bench;

namespace {

constexpr int calls = 20'000;
volatile unsigned long seen;

using handler = void (*)(int, siginfo_t*, void*);

handler installed() {
    struct sigaction action {};
    ::sigaction(SIGUSR1, nullptr, &action);
    return action.sa_sigaction;
}

siginfo_t info{};
ucontext_t context{};

double call_many(handler body, int times = calls) {
    info.si_signo = SIGUSR1;
    info.si_code = SI_TKILL;
    handler volatile const fetched = body;
    return each_call(times, [&] { fetched(SIGUSR1, &info, &context); });
}

void by_hand(int, siginfo_t*, void*) { seen = 1; }

// What any handler with more than one row has to have: a table, an acquire load, a call, errno kept.
handler volatile table_by_hand[65];
void by_table(int signal, siginfo_t* what, void* where) {
    int const kept = errno;
    __atomic_load_n(&table_by_hand[signal], __ATOMIC_ACQUIRE)(signal, what, where);
    errno = kept;
}

// The same, and a mark that tells a removal that the thread is inside, in a cell that the thread has for itself.
struct alignas(64) cell_by_hand {
    std::uintptr_t owner;
    std::uintptr_t holder;
};
cell_by_hand cells_by_hand[64];
cell_by_hand& cell_of(std::uintptr_t thread) { return cells_by_hand[(thread >> 6) % 64]; }

void by_table_with_mark(int signal, siginfo_t* what, void* where) {
    int const kept = errno;
    std::uintptr_t const self = in_signal::thread_pointer();
    cell_by_hand& own = cell_of(self);
    if (own.owner != self || own.holder != 0) std::abort();
    __atomic_store_n(&own.holder, self, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_load_n(&table_by_hand[signal], __ATOMIC_ACQUIRE)(signal, what, where);
    __atomic_store_n(&own.holder, 0, __ATOMIC_RELEASE);
    errno = kept;
}

auto const add_one = in_handler([](delivery const&) noexcept { seen = 1; });

template <class... Reactions>
double row_cost(Reactions... reactions) {
    guard const one{on<SIGUSR1>(reactions...)};
    return call_many(installed());
}

double peer_cost(loop_peer const& peer) {
    peer.install(SIGUSR1);
    handler const body = installed();
    double total = 0;
    for (int i = 0; i < 10; ++i) {
        total += call_many(body, 100);
        for (int turn = 0; turn < 3; ++turn) peer.turn(false);
    }
    peer.uninstall(SIGUSR1);
    return total / 10;
}

// The mark of the removal guarantee, alone: in a cell that the thread owns, as most deliveries have it.
double mark_cost() {
    guard const one{on<SIGUSR1>(add_one)};
    in_signal::table& in = *in_signal::the_table.load();
    handler volatile const fetched = installed();
    fetched(SIGUSR1, &info, &context);  // the first delivery of a thread takes the cell
    return each_call(calls, [&] {
        std::uintptr_t const self = in_signal::thread_pointer();
        in_signal::own_cell& own = in.own[in_signal::first_cell(self) % in_signal::own_count];
        if (own.owner.load_relaxed() != self || own.holder.load_relaxed() != 0) std::abort();
        own.holder.store_relaxed(in_signal::inside::tag(SIGUSR1, self));
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        own.holder.store_release(0);
    });
}

// The same in a cell that threads share: a read-modify-write, and a store.
double shared_mark_cost() {
    guard const one{on<SIGUSR1>(add_one)};
    in_signal::table& in = *in_signal::the_table.load();
    return each_call(calls, [&] { in_signal::inside::leave(in, SIGUSR1, in_signal::inside::enter(in, SIGUSR1)); });
}

double delivery_cost() {
    return each_call(calls, [] {
        delivery const made{SIGUSR1, info, &context};
        use(made);
    });
}

}  // namespace

int main() {
    table_by_hand[SIGUSR1] = by_hand;
    cell_of(in_signal::thread_pointer()).owner = in_signal::thread_pointer();
    contest all{"handler body", rounds(61)};
    all.row("one reaction").floor("by hand", [] { return call_many(by_hand); });
    all.part("by hand, through a table, errno kept", [] { return call_many(by_table); });
    all.same("by hand: table, errno, the mark that a removal waits for", [] { return call_many(by_table_with_mark); });
    for (loop_peer const& each : loop_peers()) all.peer(each.name, [&each] { return peer_cost(each); });
    for (std::string const& name : absent_peers()) all.absent(name);
    all.part("of it, the mark that a removal waits for", mark_cost);
    all.part("the same where cells are shared: nested handlers, more than 64 threads", shared_mark_cost);
    all.part("of it, making the delivery", delivery_cost);
    all.ours("in_handler(f)", target::at_most(2), [] { return row_cost(add_one); },
             "the table, errno and the delivery that any composed handler has; the mark that a removal waits for");
    all.row("each further reaction");
    all.ours("(8 reactions - 1) / 7", target::at_most(1), [a = add_one] {
        return (row_cost(a, a, a, a, a, a, a, a) - row_cost(a)) / 7;
    });
    auto const& a = add_one;
    auto const point = [&all](double x, std::function<double()> run) {
        all.row("reactions in a row").part("reactions", std::move(run)).curve("reactions in a row", x, growth::linear);
    };
    point(1, [=] { return row_cost(a); });
    point(4, [=] { return row_cost(a, a, a, a); });
    point(16, [=] { return row_cost(a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a); });
    all.run();
}
