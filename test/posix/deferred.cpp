// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/posix/call_queue.hpp>
#include <tocsin/posix/deferred.hpp>

#include <memory>
#include <vector>

using namespace tocsin;
using namespace tocsin::test;

namespace {

// A guard's part in a safe point: counts references, and runs a function for each delivery.
struct owner {
    in_signal::atomic<std::int32_t> live{::getpid()};
    std::unique_ptr<in_signal::table> in = std::make_unique<in_signal::table>();
    in_signal::atomic<std::uint64_t> pending;
    in_signal::atomic<std::uint32_t> fed;
    posix::safe_point point;
    int references = 1;
    std::vector<int> ran;
    void (*work)(owner&, delivery const&, unsigned& step) = [](owner&, delivery const&, unsigned& step) {
        step = posix::all_steps;
    };

    owner() {
        in->live_process = &live;
        posix::opening to{};
        to.in = in.get();
        to.owner = this;
        to.keep = [](void* self) noexcept { ++static_cast<owner*>(self)->references; };
        to.release = [](void* self) noexcept { --static_cast<owner*>(self)->references; };
        to.pending = &pending;
        to.fed = &fed;
        REQUIRE_FALSE(point.open(to));
        point.run = [](void* self, delivery const& what, unsigned& step) {
            auto& own = *static_cast<owner*>(self);
            own.ran.push_back(what.signal());
            own.work(own, what, step);
        };
        point.same_row = [](void*, int place) { return in_signal::bit_of(place); };
    }
    void post(int signal) {
        siginfo_t info{};
        ucontext_t context{};
        in_signal::arrival a{signal, &info, &context, in.get()};
        in_signal::post(point.box, a);
    }
};

}  // namespace

TEST_CASE("check answers for what it ran, and keeps the owner only meanwhile", "[deferred]") {
    owner o;
    o.work = [](owner& own, delivery const&, unsigned& step) {
        step = posix::all_steps;
        if (own.references != 2) own.ran.push_back(-1);
    };
    o.post(SIGUSR1);
    o.post(SIGHUP);
    CHECK(o.point.check() == 2);
    CHECK(o.ran == std::vector<int>{SIGHUP, SIGUSR1});
    CHECK(o.references == 1);
    CHECK(o.pending.load() == 0);
}

TEST_CASE("a delivery whose reactions were not all begun is run again from where it was", "[deferred]") {
    owner o;
    static std::vector<unsigned> steps;
    steps.clear();
    o.work = [](owner&, delivery const&, unsigned& step) {
        steps.push_back(step);
        if (step == 0) {
            step = 1;
            throw 1;
        }
        step = posix::all_steps;
    };
    o.post(SIGUSR1);
    CHECK_THROWS_AS(o.point.check(), int);
    CHECK(o.pending.load() == in_signal::bit_of(SIGUSR1));
    CHECK(o.references == 1);
    CHECK(o.point.check() == 1);
    CHECK(steps == std::vector<unsigned>{0, 1});
    CHECK(o.pending.load() == 0);
}

TEST_CASE("a reaction that throws with the rest begun leaves nothing", "[deferred]") {
    owner o;
    o.work = [](owner&, delivery const&, unsigned& step) {
        step = posix::all_steps;
        throw 1;
    };
    o.post(SIGUSR1);
    CHECK_THROWS_AS(o.point.check(), int);
    CHECK(o.pending.load() == 0);
    CHECK(o.point.check() == 0);
}

TEST_CASE("a check from inside skips the place that runs", "[deferred]") {
    owner o;
    o.work = [](owner& own, delivery const& what, unsigned& step) {
        step = posix::all_steps;
        if (what.signal() != SIGUSR1) return;
        own.post(SIGUSR1);
        own.post(SIGUSR2);
        own.ran.push_back(static_cast<int>(1000 + own.point.check()));
        own.work = [](owner&, delivery const&, unsigned& last) { last = posix::all_steps; };
    };
    o.post(SIGUSR1);
    CHECK(o.point.check() == 1);
    CHECK(o.ran == std::vector<int>{SIGUSR1, SIGUSR2, 1001});
    CHECK(o.point.check() == 1);
    CHECK(o.pending.load() == 0);
}

TEST_CASE("nothing runs any more once the point is closed, also by what runs in it", "[deferred]") {
    owner o;
    o.work = [](owner& own, delivery const&, unsigned& step) {
        step = 1;
        own.point.close();
    };
    o.post(SIGHUP);
    o.post(SIGUSR1);
    CHECK(o.point.check() == 1);
    CHECK(o.ran == std::vector<int>{SIGHUP});
}
