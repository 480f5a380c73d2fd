// SPDX-License-Identifier: MIT
// What does it cost to install a row and to put back what was there? In time, and in system calls: with an argument
// this program does one of them so often that strace can count.
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

#include <tocsin/block.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/hold.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/wake.hpp>

#include "peers/peer.hpp"
#include "support/measure.hpp"

using namespace tocsin;
using namespace tocsin::bench;

namespace {

constexpr int pairs = 300;
volatile unsigned long seen;
auto const add_one = in_handler([](delivery const&) noexcept { seen = seen + 1; });

void bare_pair() {
    struct sigaction action {};
    struct sigaction before {};
    action.sa_handler = [](int) { seen = seen + 1; };
    action.sa_flags = SA_ONSTACK | SA_RESTART;
    ::sigaction(SIGUSR1, &action, &before);
    ::sigaction(SIGUSR1, &before, nullptr);
}
void look_and_bare_pair() {
    struct sigaction live {};
    ::sigaction(SIGUSR1, nullptr, &live);
    bare_pair();
    ::sigaction(SIGUSR1, nullptr, &live);
}
void guard_pair() { guard const one{on<SIGUSR1>(add_one)}; }
void wake_pair() { guard const one{on<SIGUSR1>(wake)}; }

template <int... Numbers>
void many_rows(std::integer_sequence<int, Numbers...>) {
    guard const all{on<rt<Numbers + 1>>(add_one)...};
}

// One more, inside so many on the same signal.
double nested(int outer) {
    if (outer == 0) return each_call(pairs / 10, guard_pair);
    guard const one{on<SIGUSR1>(add_one)};
    return nested(outer - 1);
}

void raw_mask() {
    std::uint64_t const blocked = std::uint64_t{1} << (SIGUSR1 - 1);
    std::uint64_t before = 0;
    ::syscall(SYS_rt_sigprocmask, SIG_BLOCK, &blocked, &before, sizeof before);
    ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, nullptr, sizeof before);
}
void thread_mask() {
    sigset_t blocked;
    sigset_t before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}
void our_hold() { hold const here; }
void our_mask() { block<SIGUSR1> const here; }

void measure() {
    contest all{"install", rounds(41)};
    auto const of = [](void (*pair)()) { return [pair] { return each_call(pairs, pair); }; };
    all.row("one row, install + uninstall").floor("2 x rt_sigaction", of(bare_pair));
    for (loop_peer const& each : loop_peers())
        all.peer(each.name, [&each] {
            return each_call(pairs / 10, [&each] {
                each.install(SIGUSR1);
                each.uninstall(SIGUSR1);
            });
        });
    for (std::string const& name : absent_peers()) all.absent(name);
    all.part("4 x rt_sigaction by hand: a look before each change", of(look_and_bare_pair));
    all.ours("guard{on<SIGUSR1>(in_handler(f))}", target::times(1.03), of(guard_pair),
             "+ a look at the kernel before each change (2 calls), the table's lock, a state on the heap");
    all.row("one row with a descriptor").floor_of("2 x rt_sigaction");
    all.ours("guard{on<SIGUSR1>(wake)}", {}, of(wake_pair), "+ eventfd, close");
    for (int const rows : {1, 8, 24}) {
        all.row("rows").part("rows", [rows] {
            return each_call(pairs / 10, [rows] {
                if (rows == 1) many_rows(std::make_integer_sequence<int, 1>{});
                if (rows == 8) many_rows(std::make_integer_sequence<int, 8>{});
                if (rows == 24) many_rows(std::make_integer_sequence<int, 24>{});
            });
        }).curve("rows in a guard", rows, growth::linear);
    }
    for (int const depth : {1, 4, 16, 64})
        all.row("nested")
            .part("nested", [depth] { return nested(depth - 1); })
            .curve("guards nested", depth, growth::linear);
    all.run();

    contest masks{"mask", rounds(41)};
    masks.row("mask guard").floor("2 x rt_sigprocmask", of(raw_mask)).peer("pthread_sigmask x2", of(thread_mask));
    masks.ours("block<SIGUSR1>", target::times(1.02), of(our_mask),
               "through pthread_sigmask, which sanitizers want to see");
    masks.row("user-space mask").ours("hold", target::at_most(5), [] { return each_call(pairs * 20, our_hold); });
    masks.run();
}

}  // namespace

int main(int count, char** words) {
    if (count == 1) {
        measure();
        return 0;
    }
    // for strace: what the process needs to begin with is done once before the mark, an alarm(0)
    std::string const word = words[1];
    void (*const pair)() = word == "sigaction" ? bare_pair : word == "guard" ? guard_pair : word == "wake" ? wake_pair
                         : word == "mask"      ? raw_mask  : word == "block" ? our_mask   : nullptr;
    auto const of_peer = [&word] {
        for (loop_peer const& each : loop_peers())
            if (word == each.name) {
                each.install(SIGUSR1);
                each.uninstall(SIGUSR1);
            }
    };
    for (int i = 0; i < 11; ++i) {
        if (i == 1) ::alarm(0);
        pair != nullptr ? pair() : of_peer();
    }
    ::alarm(0);
}
