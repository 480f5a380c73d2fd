// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/posix/inbox.hpp>
#include <tocsin/wake.hpp>

#include <memory>
#include <thread>
#include <vector>

using namespace tocsin;
using namespace tocsin::test;

namespace {

struct fixture {
    static constexpr int number = 40;

    in_signal::atomic<std::int32_t> live{::getpid()};
    std::unique_ptr<in_signal::table> in = std::make_unique<in_signal::table>();
    std::unique_ptr<wake_state> state = std::make_unique<wake_state>();

    fixture() {
        in->live_process = &live;
        in->reserved_signal.store(SIGRTMAX - 1);
        ::signal(SIGRTMAX - 1, SIG_IGN);  // nobody answers here
        posix::opening to{};
        to.in = in.get();
        REQUIRE_FALSE(state->open(to));
        REQUIRE_FALSE(posix::add_ring(state->inbox, number, 16));
    }

    ~fixture() { ::signal(SIGRTMAX - 1, SIG_DFL); }

    in_signal::ring& ring() { return *state->inbox.rings[number]; }
    void post(int signal, int value = 0) {
        siginfo_t info{};
        info.si_code = SI_QUEUE;
        info.si_value.sival_int = value;
        ucontext_t context{};
        in_signal::arrival a{signal, &info, &context, in.get()};
        in_signal::post(state->inbox, a);
    }
    bool take(int signal, delivery& what) { return posix::take(*in, state->inbox, signal, what); }
};

}  // namespace

TEST_CASE("taking a standard signal gives its count and clears its bit", "[inbox]") {
    fixture f;
    f.post(SIGUSR1, 4);
    f.post(SIGUSR1, 5);
    delivery what;
    REQUIRE(f.take(SIGUSR1, what));
    CHECK(what.merged() == 2);
    CHECK(what.value() == 4);
    CHECK(f.state->bits.load() == 0);
    CHECK_FALSE(f.take(SIGUSR1, what));
}

TEST_CASE("taking queued signals keeps the bit until the last", "[inbox]") {
    fixture f;
    for (int i = 0; i < 10; ++i) f.post(f.number, i);
    delivery what;
    for (int i = 0; i < 10; ++i) {
        CHECK(f.state->bits.load() != 0);
        REQUIRE(f.take(f.number, what));
        CHECK(what.value() == i);
    }
    CHECK(f.state->bits.load() == 0);
    CHECK_FALSE(f.take(f.number, what));
}

TEST_CASE("a ring goes round and round", "[inbox]") {
    fixture f;
    delivery what;
    for (int i = 0; i < 1000; ++i) {
        f.post(f.number, i);
        f.post(f.number, -i);
        REQUIRE(f.take(f.number, what));
        CHECK(what.value() == i);
        REQUIRE(f.take(f.number, what));
        CHECK(what.value() == -i);
    }
}

TEST_CASE("a bit whose delivery somebody else was faster to take is cleared by a walk", "[inbox]") {
    fixture f;
    f.state->bits.store(in_signal::bit_of(f.number));
    for (delivery const& d : f.state->take()) CHECK(d.signal() == 0);
    CHECK(f.state->bits.load() == 0);
    CHECK_FALSE(readable(f.state->fd()));
}

TEST_CASE("a walk ends although more keeps coming", "[inbox]") {
    fixture f;
    for (int i = 0; i < 3; ++i) f.post(f.number, i);
    int seen = 0;
    for (delivery const& d : f.state->take()) {
        ++seen;
        REQUIRE(d.signal() == f.number);
        REQUIRE(seen < 10);
        f.post(f.number, 99);
        f.post(f.number, 99);
    }
    CHECK(seen == 3);
    CHECK(readable(f.state->fd()));
}

TEST_CASE("a thread that could not be asked to open a signal stays noted", "[inbox]") {
    in_child([] {
        fixture f;
        block_signal(f.number);
        block_signal(SIGRTMAX - 1);
        // somebody else's queued signals fill the kernel's queue
        rlimit usual{};
        ::getrlimit(RLIMIT_SIGPENDING, &usual);
        rlimit const none{0, usual.rlim_max};
        ::setrlimit(RLIMIT_SIGPENDING, &none);
        in_signal::atomic<int> other;
        in_signal::atomic<int> done;
        std::thread parked{[&] {
            other.store(::gettid());
            while (done.load() == 0) ::sched_yield();
        }};
        until([&] { return other.load() != 0; });
        f.ring().parked[7].number.store(other.load());
        f.state->bits.store(in_signal::bit_of(f.number));
        delivery what;
        require_in_child(!f.take(f.number, what));
        require_in_child(f.ring().parked[7].number.load() == other.load());
        require_in_child(f.state->bits.load() != 0);
        ::setrlimit(RLIMIT_SIGPENDING, &usual);
        require_in_child(!f.take(f.number, what));
        require_in_child(f.ring().parked[7].number.load() == 0 && f.state->bits.load() == 0);
        done.store(1);
        parked.join();
    });
}

TEST_CASE("what waits in the kernel is fetched where nobody can be asked to open the signal", "[inbox]") {
    in_child([] {
        fixture f;
        block_signal(f.number);
        block_signal(SIGRTMAX - 1);
        queue_value(::getpid(), f.number, 123);
        rlimit const none{1, 1};
        ::setrlimit(RLIMIT_SIGPENDING, &none);
        in_signal::atomic<int> other;
        in_signal::atomic<int> done;
        std::thread parked{[&] {
            other.store(::gettid());
            while (done.load() == 0) ::sched_yield();
        }};
        until([&] { return other.load() != 0; });
        f.ring().parked[0].number.store(other.load());
        delivery what;
        require_in_child(f.take(f.number, what) && what.value() == 123);
        done.store(1);
        parked.join();
    });
}

TEST_CASE("a ring is added once, and all rings are given back", "[inbox]") {
    fixture f;
    in_signal::ring* const first = f.state->inbox.rings[f.number];
    REQUIRE_FALSE(posix::add_ring(f.state->inbox, f.number, 16));
    CHECK(f.state->inbox.rings[f.number] == first);
    CHECK(first->places == 32);
    posix::remove_rings(f.state->inbox);
    CHECK(f.state->inbox.rings[f.number] == nullptr);
}

TEST_CASE("the lowest bit is the lowest signal", "[inbox]") {
    CHECK(posix::lowest(0) == 0);
    CHECK(posix::lowest(in_signal::bit_of(64)) == 64);
    CHECK(posix::lowest(in_signal::bit_of(64) | in_signal::bit_of(1)) == 1);
}

TEST_CASE("threads that post and take at once lose nothing and take nothing twice", "[inbox]") {
    fixture f;
    constexpr int large = 41;  // so large that nobody has to go round: no kernel holds anything back here
    REQUIRE_FALSE(posix::add_ring(f.state->inbox, large, 8192));
    in_signal::atomic<unsigned long> standard;
    in_signal::atomic<int> total;
    constexpr int each = 4000;
    std::vector<in_signal::atomic<int>> seen(2 * each);
    std::vector<std::thread> threads;
    for (int poster = 0; poster < 2; ++poster)
        threads.emplace_back([&, poster] {
            for (int i = 0; i < each; ++i) {
                f.post(large, poster * each + i);
                f.post(SIGUSR1);
            }
        });
    for (int taker = 0; taker < 2; ++taker)
        threads.emplace_back([&] {
            while (total.load() < 2 * each)
                for (delivery const& d : f.state->take()) {
                    if (d.signal() == SIGUSR1) {
                        standard.fetch_add(d.merged());
                    } else {
                        seen[static_cast<std::size_t>(d.value())].fetch_add(1);
                        total.fetch_add(1);
                    }
                }
        });
    for (std::thread& thread : threads) thread.join();
    for (delivery const& d : f.state->take()) standard.fetch_add(d.signal() == SIGUSR1 ? d.merged() : 0);
    int wrong = 0;
    for (auto const& each_seen : seen) wrong += each_seen.load() != 1;
    CHECK(wrong == 0);
    CHECK(standard.load() == 2 * each);
    for (delivery const& d : f.state->take()) CHECK(d.signal() == 0);
    CHECK_FALSE(readable(f.state->fd()));
}
