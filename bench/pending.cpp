// SPDX-License-Identifier: MIT
// "Has a signal arrived?" when none has. The functions are kept apart, so that bench/run.py can compare their
// instructions.
#include <signal.h>

#include <tocsin/defer.hpp>
#include <tocsin/guard.hpp>

#include "peers/peer.hpp"
#include "support/measure.hpp"

using namespace tocsin;
using namespace tocsin::bench;

namespace {

constexpr int looks = 100'000;

struct flag {
    std::uint64_t word = 0;
};

}  // namespace

namespace {
auto const nothing = defer([] {});
using guard_type = guard<decltype(on<SIGUSR1>(nothing))>;
}  // namespace

extern "C" [[gnu::noinline]] bool look_by_hand(flag const& at) {
    return __atomic_load_n(&at.word, __ATOMIC_RELAXED) != 0;
}
extern "C" [[gnu::noinline]] bool look_by_guard(guard_type const& at) { return at.pending(); }

namespace {

template <class F>
double look_many(F look) {
    return each_call(looks, [&] {
        if (look()) std::abort();
    });
}

}  // namespace

int main() {
    flag by_hand;
    guard_type signals{on<SIGUSR1>(nothing)};
    // the functions are there for their instructions
    if (look_by_hand(by_hand) || look_by_guard(signals)) return 1;

    contest all{"pending", rounds(61)};
    all.row("when nothing is").floor("relaxed load", [&] {
        return look_many([&] { return __atomic_load_n(&by_hand.word, __ATOMIC_RELAXED) != 0; });
    });
    all.peer("exchange(0)", [&] {
        return look_many([&] { return __atomic_exchange_n(&by_hand.word, 0U, __ATOMIC_SEQ_CST) != 0; });
    });
    all.peer("sigpending(2)", [] {
        return each_call(2000, [] {
            sigset_t set;
            ::sigpending(&set);
            use(set);
        });
    });
    for (loop_peer const& each : loop_peers())
        all.peer(std::string{each.name} + " poll", [&each] {
            each.install(SIGUSR1);
            double const cost = each_call(500, [&each] { each.turn(false); });
            each.uninstall(SIGUSR1);
            return cost;
        });
    for (std::string const& name : absent_peers()) all.absent(name);
    all.ours("guard.pending()", target::times(1.05), [&] { return look_many([&] { return signals.pending(); }); });
    all.row("check() when nothing is").floor_of("relaxed load");
    all.ours("guard.check()", {}, [&] {
        return each_call(looks, [&] { use(signals.check()); });
    });
    all.run();
}
