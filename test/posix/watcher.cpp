// SPDX-License-Identifier: MIT
// Looks at watchdogs at times that are made up, without a thread: what fires, and when.
#include <tocsin/posix/watcher.hpp>

#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

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
        to.mask = posix::current_mask();
        to.fed = &fed;
        list.open(to);
        for (std::uint64_t const period : periods) {
            rows_.push_back(std::make_unique<row>());
            rows_.back()->of = this;
            rows_.back()->place = static_cast<int>(rows_.size()) - 1;
            list.add(rows_.back()->one, period, rows_.back().get(), &react);
        }
        list.arm(now);
    }

    // Looks whenever a look is due until `end`, as the watcher does, and reacts to what has fired.
    void pass_until(std::uint64_t end, std::int32_t tracer = 0) {
        while (list.next_look() <= end) {
            if (list.next_look() > now) now = list.next_look();
            look(tracer);
        }
        now = end;
    }

    void look(std::int32_t tracer = 0, std::int32_t process = in_signal::getpid()) {
        posix::look at{now, process, tracer};
        list.look_at_all(at);
        ++looks;
        list.run_fired();
        posix::set_mask(mask_);  // run_fired leaves the helper's mask behind
    }

    void feed() { fed.store_relaxed(1); }

    std::uint64_t const begin = 1'000 * ms;
    std::uint64_t now = begin;
    in_signal::atomic<std::uint32_t> fed;
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

TEST_CASE("a watchdog that is never fed fires one period after it was armed", "[watcher]") {
    watched_guard guard{{100 * ms}};
    guard.pass_until(guard.begin + 99 * ms);
    CHECK(guard.ran.empty());
    guard.pass_until(guard.begin + 100 * ms);
    CHECK(guard.ran == places{0});
    CHECK(guard.when[0] == 100 * ms);
}

TEST_CASE("a watchdog fires between d and 1.25 d after the last feed, wherever that was between two looks",
          "[watcher]") {
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

TEST_CASE("a watchdog that is fed once a period does not fire", "[watcher]") {
    watched_guard guard{{100 * ms}};
    for (std::uint64_t at = 99; at < 5'000; at += 99) {
        guard.pass_until(guard.begin + at * ms);
        guard.feed();
    }
    CHECK(guard.ran.empty());
}

TEST_CASE("a watchdog fires once a hang, and again after it has been fed", "[watcher]") {
    watched_guard guard{{100 * ms}};
    guard.pass_until(guard.begin + 1'000 * ms);
    CHECK(guard.ran == places{0});
    guard.feed();
    guard.pass_until(guard.begin + 1'099 * ms);
    CHECK(guard.ran == places{0});
    guard.pass_until(guard.begin + 5'000 * ms);
    CHECK(guard.ran == places{0, 0});
}

TEST_CASE("constant feeding costs four looks a period", "[watcher]") {
    watched_guard guard{{100 * ms}};
    for (std::uint64_t at = 1; at <= 1'000; ++at) {
        guard.feed();
        guard.pass_until(guard.begin + at * ms);
    }
    CHECK(guard.looks == 40);
}

TEST_CASE("whatever watchdog of a guard is looked at first, a feed counts for all of them", "[watcher]") {
    watched_guard guard{{400 * ms, 20 * ms}};
    for (std::uint64_t at = 0; at <= 4'000; at += 100) {
        guard.pass_until(guard.begin + at * ms);
        guard.feed();  // the short one's next look takes it, long before the long one's
    }
    for (int const place : guard.ran) CHECK(place == 1);
    CHECK(guard.ran.size() == 40);
}

TEST_CASE("watchdogs of one guard keep their own periods", "[watcher]") {
    watched_guard guard{{300 * ms, 100 * ms, 200 * ms}};
    guard.pass_until(guard.begin + 1'000 * ms);
    CHECK(guard.ran == places{1, 2, 0});
    CHECK(guard.when == std::vector<std::uint64_t>{100 * ms, 200 * ms, 300 * ms});
}

TEST_CASE("time in which the process did not run counts as one look", "[watcher]") {
    watched_guard guard{{100 * ms}};
    guard.pass_until(guard.begin + 20 * ms);
    for (int stop = 0; stop < 3; ++stop) {
        guard.now += 10'000 * ms;  // stopped: nobody could look
        guard.look();
        CHECK(guard.list.next_look() == guard.now + 25 * ms);
        CHECK(guard.ran.empty());
    }
    guard.feed();
    guard.pass_until(guard.now + 99 * ms);
    CHECK(guard.ran.empty());
    guard.pass_until(guard.now + 50 * ms);
    CHECK(guard.ran == places{0});
}

TEST_CASE("while a tracer is attached the time does not count", "[watcher]") {
    watched_guard guard{{100 * ms}};
    guard.pass_until(guard.begin + 75 * ms);
    guard.pass_until(guard.begin + 10'000 * ms, 4711);
    CHECK(guard.ran.empty());
    guard.pass_until(guard.begin + 10'025 * ms);
    CHECK(guard.ran == places{0});
}

TEST_CASE("watchdogs that were armed in another process do nothing and are due never", "[watcher]") {
    watched_guard guard{{100 * ms}};
    guard.now += 25 * ms;
    guard.look(0, in_signal::getpid() + 1);
    CHECK(guard.list.next_look() == posix::never);
}

TEST_CASE("arming forgets what had been missed", "[watcher]") {
    watched_guard guard{{100 * ms}};
    guard.pass_until(guard.begin + 99 * ms);
    guard.list.arm(guard.now);
    guard.pass_until(guard.begin + 198 * ms);
    CHECK(guard.ran.empty());
    guard.pass_until(guard.begin + 199 * ms);
    CHECK(guard.ran == places{0});
}

TEST_CASE("a period is watched in quarters, rounded up, and not below a millisecond", "[watcher]") {
    auto const quarter_of = [](std::uint64_t period) {
        watched_guard guard{{period}};
        return guard.list.next_look() - guard.begin;
    };
    CHECK(quarter_of(1) == ms / 4);
    CHECK(quarter_of(4 * ms) == ms);
    CHECK(quarter_of(4 * ms + 1) == ms + 1);
    CHECK(quarter_of(posix::never >> 1) == (posix::never >> 3) + 1);
}

TEST_CASE("the process that traces this one is found", "[watcher]") {
    bool const wanted = GENERATE(false, true);
    int words[2];
    REQUIRE(::pipe(words) == 0);
    pid_t const self = ::getpid();
    pid_t const child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        char traced = 0;
        if (::read(words[0], &traced, 1) != 1) ::_exit(1);
        ::_exit(posix::detail::find_tracer() == (traced == 'y' ? self : 0) ? 0 : 2);
    }
    bool const seized = wanted && ::ptrace(PTRACE_SEIZE, child, nullptr, nullptr) == 0;
    CHECK(::write(words[1], seized ? "y" : "n", 1) == 1);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    ::close(words[0]);
    ::close(words[1]);
    if (wanted && !seized) WARN("ptrace is refused here: only the absence of a tracer was tested");
}
