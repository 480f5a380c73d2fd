// SPDX-License-Identifier: MIT
// Looks at watchdogs at times that are made up, without a thread: what fires, and when.
#include <tocsin/posix/watch_list.hpp>

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "support/catch.hpp"

using namespace tocsin;

namespace {

constexpr std::uint64_t ms = 1'000'000;

// A guard's watchdogs in a table of their own, with a clock that only the test moves.
class watched_guard {
  public:
    // Watchdogs of these periods, armed now.
    explicit watched_guard(std::vector<std::uint64_t> const& periods) {
        posix::opening to{};
        to.in = &in_;
        to.keep = [](void*) noexcept {};
        to.release = [](void*) noexcept {};
        to.fed = &fed;
        to.resting = &resting;
        list.open(to);
        for (std::uint64_t const period : periods) add(period);
        list.arm(now);
    }

    void add(std::uint64_t period, std::uint64_t every = 0) {
        rows_.push_back(std::make_unique<row>());
        row& added = *rows_.back();
        added.of = this;
        added.place = static_cast<int>(rows_.size()) - 1;
        added.one.at = period;
        added.one.every = every;
        added.one.program = &added;
        added.one.run = &react;
        list.add(added.one, 0, nullptr);
    }

    // Looks whenever a look is due until `end`, as the watcher does, and reacts to what has fired.
    void pass_until(std::uint64_t end, std::int32_t tracer = 0) {
        while (next_look() <= end) {
            if (next_look() > now) now = next_look();
            look(tracer);
        }
        now = end;
    }

    void look(std::int32_t tracer = 0, std::int32_t process = in_signal::getpid()) {
        posix::look at{now, process, tracer};
        list.each([&at](posix::watch_group& group) { group.look_at_it(at); });
        ++looks;
        list.run_fired();
        posix::set_mask(mask_);  // run_fired leaves the helper's mask behind
    }

    std::uint64_t next_look() {
        std::uint64_t next = posix::never;
        list.each([&next](posix::watch_group& group) { next = std::min(next, group.next_look()); });
        return next;
    }

    void feed() { fed.store_relaxed(1); }

    std::uint64_t const begin = 1'000 * ms;
    std::uint64_t now = begin;
    in_signal::atomic<std::uint32_t> fed;
    in_signal::atomic<std::uint32_t> resting;
    posix::watch_list list;
    std::vector<int> ran;             // the places of the watchdogs whose rows have run
    std::vector<std::uint64_t> when;  // after `begin`
    unsigned looks = 0;

  private:
    struct row {
        posix::watch one;
        watched_guard* of = nullptr;
        int place = 0;
    };

    static void react(void* program, in_signal::arrival& hang) {
        auto const& self = *static_cast<row*>(program);
        if (hang.signal != 0) throw "a hang has no signal";
        self.of->ran.push_back(self.place);
        self.of->when.push_back(self.of->now - self.of->begin);
    }

    in_signal::table in_{};
    in_signal::kernel_set mask_ = posix::current_mask();
    std::vector<std::unique_ptr<row>> rows_;
};

using places = std::vector<int>;

}  // namespace

TEST_CASE("a watchdog that is never fed fires one period after it was armed", "[watch_list]") {
    watched_guard guard{{100 * ms}};
    guard.pass_until(guard.begin + 99 * ms);
    CHECK(guard.ran.empty());
    guard.pass_until(guard.begin + 100 * ms);
    CHECK(guard.ran == places{0});
    CHECK(guard.when[0] == 100 * ms);
}

TEST_CASE("a watchdog fires between d and 1.25 d after the last feed, wherever that was between two looks",
          "[watch_list]") {
    for (std::uint64_t fed_at = 1; fed_at < 100; ++fed_at) {
        watched_guard guard{{100 * ms}};
        guard.pass_until(guard.begin + fed_at * ms);
        guard.feed();
        guard.pass_until(guard.begin + 500 * ms);
        REQUIRE(guard.ran == places{0});
        INFO("fed at " << fed_at << " ms, fired at " << guard.when[0] / ms);
        CHECK(guard.when[0] >= (fed_at + 100) * ms);
        CHECK(guard.when[0] <= (fed_at + 125) * ms);
    }
}

TEST_CASE("a watchdog that is fed once a period does not fire", "[watch_list]") {
    watched_guard guard{{100 * ms}};
    for (std::uint64_t at = 99; at < 5'000; at += 99) {
        guard.pass_until(guard.begin + at * ms);
        guard.feed();
    }
    CHECK(guard.ran.empty());
}

TEST_CASE("a watchdog fires once a hang, and again after it has been fed", "[watch_list]") {
    watched_guard guard{{100 * ms}};
    guard.pass_until(guard.begin + 1'000 * ms);
    CHECK(guard.ran == places{0});
    guard.feed();
    guard.pass_until(guard.begin + 1'099 * ms);
    CHECK(guard.ran == places{0});
    guard.pass_until(guard.begin + 5'000 * ms);
    CHECK(guard.ran == places{0, 0});
}

TEST_CASE("constant feeding costs four looks a period", "[watch_list]") {
    watched_guard guard{{100 * ms}};
    for (std::uint64_t at = 1; at <= 1'000; ++at) {
        guard.feed();
        guard.pass_until(guard.begin + at * ms);
    }
    CHECK(guard.looks == 40);
}

TEST_CASE("whatever watchdog of a guard is looked at first, a feed counts for all of them", "[watch_list]") {
    watched_guard guard{{400 * ms, 20 * ms}};
    for (std::uint64_t at = 0; at <= 4'000; at += 100) {
        guard.pass_until(guard.begin + at * ms);
        guard.feed();  // the short one's next look takes it, long before the long one's
    }
    for (int const place : guard.ran) CHECK(place == 1);
    CHECK(guard.ran.size() == 40);
}

TEST_CASE("watchdogs of one guard keep their own periods", "[watch_list]") {
    watched_guard guard{{300 * ms, 100 * ms, 200 * ms}};
    guard.pass_until(guard.begin + 1'000 * ms);
    CHECK(guard.ran == places{1, 2, 0});
    CHECK(guard.when == std::vector<std::uint64_t>{100 * ms, 200 * ms, 300 * ms});
}

TEST_CASE("time in which the process did not run counts as one look", "[watch_list]") {
    watched_guard guard{{100 * ms}};
    guard.pass_until(guard.begin + 20 * ms);
    for (int stop = 0; stop < 3; ++stop) {
        guard.now += 10'000 * ms;  // stopped: nobody could look
        guard.look();
        CHECK(guard.next_look() == guard.now + 25 * ms);
        CHECK(guard.ran.empty());
    }
    guard.feed();
    guard.pass_until(guard.now + 99 * ms);
    CHECK(guard.ran.empty());
    guard.pass_until(guard.now + 50 * ms);
    CHECK(guard.ran == places{0});
}

TEST_CASE("while a tracer is attached the time does not count", "[watch_list]") {
    watched_guard guard{{100 * ms}};
    guard.pass_until(guard.begin + 75 * ms);
    guard.pass_until(guard.begin + 10'000 * ms, 4711);
    CHECK(guard.ran.empty());
    guard.pass_until(guard.begin + 10'025 * ms);
    CHECK(guard.ran == places{0});
}

TEST_CASE("watchdogs that were armed in another process do nothing and are due never", "[watch_list]") {
    watched_guard guard{{100 * ms}};
    guard.now += 25 * ms;
    guard.look(0, in_signal::getpid() + 1);
    CHECK(guard.next_look() == posix::never);
}

TEST_CASE("arming forgets what had been missed", "[watch_list]") {
    watched_guard guard{{100 * ms}};
    guard.pass_until(guard.begin + 99 * ms);
    guard.list.arm(guard.now);
    guard.pass_until(guard.begin + 198 * ms);
    CHECK(guard.ran.empty());
    guard.pass_until(guard.begin + 199 * ms);
    CHECK(guard.ran == places{0});
}

TEST_CASE("a period is watched in quarters, rounded up, and not below a millisecond", "[watch_list]") {
    auto const quarter_of = [](std::uint64_t period) {
        watched_guard guard{{period}};
        return guard.next_look() - guard.begin;
    };
    CHECK(quarter_of(1) == ms / 4);
    CHECK(quarter_of(4 * ms) == ms);
    CHECK(quarter_of(4 * ms + 1) == ms + 1);
    CHECK(quarter_of(posix::never >> 1) == (posix::never >> 3) + 1);
}

TEST_CASE("what repeats fires again each time its pause has passed, until somebody feeds", "[watch_list]") {
    watched_guard guard{{}};
    guard.add(100 * ms, 30 * ms);
    guard.list.arm(guard.now);
    guard.pass_until(guard.begin + 200 * ms);
    CHECK(guard.when == std::vector<std::uint64_t>{100 * ms, 130 * ms, 160 * ms, 190 * ms});
    guard.feed();
    guard.pass_until(guard.begin + 300 * ms);
    CHECK(guard.ran.size() == 4);
}

TEST_CASE("stages are counted from the last feed, each to the quarter of the first", "[watch_list]") {
    watched_guard guard{{100 * ms, 110 * ms, 1'000 * ms}};
    guard.pass_until(guard.begin + 90 * ms);
    guard.feed();
    guard.pass_until(guard.begin + 2'000 * ms);
    CHECK(guard.ran == places{0, 1, 2});
    CHECK(guard.when == std::vector<std::uint64_t>{200 * ms, 210 * ms, 1'100 * ms});
}

TEST_CASE("while the guard rests nobody looks, and nothing fires", "[watch_list]") {
    watched_guard guard{{100 * ms}};
    guard.pass_until(guard.begin + 99 * ms);
    std::uint32_t const outer = guard.list.begin_rest();
    std::uint32_t const inner = guard.list.begin_rest();
    guard.pass_until(guard.begin + 110 * ms);
    CHECK(guard.next_look() == posix::never);
    guard.list.end_rest(inner);
    CHECK(guard.resting.load() == 3);
    CHECK(guard.ran.empty());
    guard.resting.store(2);  // as if the watcher had not looked during the rest
    guard.list.end_rest(outer);
    CHECK(guard.fed.load() == 1);
    CHECK(guard.resting.load() == 0);
}

TEST_CASE("an early look adds the time that has passed, and no more", "[watch_list]") {
    watched_guard guard{{100 * ms}};
    while (guard.ran.empty()) {
        guard.now += 10 * ms;
        guard.look();
    }
    CHECK(guard.when[0] == 100 * ms);
}
