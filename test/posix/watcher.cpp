// SPDX-License-Identifier: MIT
#include <tocsin/posix/watcher.hpp>

#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/refuse_call.hpp"

using namespace tocsin;

namespace {

constexpr std::uint64_t ms = 1'000'000;

// Asks to be looked at again `pace` after each look, and counts.
struct counted : posix::watched {
    explicit counted(std::uint64_t often) : pace{often} {
        tick = [](watched& self, posix::look& at) noexcept {
            auto& of = static_cast<counted&>(self);
            ++of.looks;
            of.due = at.now + of.pace;
        };
    }
    std::uint64_t pace;
    unsigned looks = 0;
};

// Looks from one due time to the next, as the watcher does, and answers how often it had to wake up.
unsigned wake_ups(posix::watch_room& room, std::uint64_t begin, std::uint64_t end) {
    unsigned count = 0;
    for (std::uint64_t now = begin; now <= end; ++count) {
        posix::look at{now, 1, 0};
        now = posix::detail::look_around(room, at);
    }
    return count;
}

}  // namespace

TEST_CASE("a thousand that are looked at at one pace cost the wake-ups of one", "[watcher]") {
    posix::watch_room room{};
    std::vector<std::unique_ptr<counted>> all;
    for (unsigned i = 0; i < 1000; ++i) {
        all.push_back(std::make_unique<counted>(25 * ms));
        all.back()->due = (100 + i % 25) * ms;
        posix::detail::link_watched(room, *all.back(), 25 * ms);
    }
    CHECK(wake_ups(room, 100 * ms, 1'100 * ms) <= 41);
    for (auto const& each : all) REQUIRE(each->looks >= 40);
}

TEST_CASE("the rare one is not looked at each time the frequent one is", "[watcher]") {
    posix::watch_room room{};
    counted often{ms};
    counted seldom{1'000 * ms};
    often.due = seldom.due = ms;
    posix::detail::link_watched(room, often, ms);
    posix::detail::link_watched(room, seldom, 1'000 * ms);
    wake_ups(room, ms, 10'000 * ms);
    CHECK(often.looks >= 9'990);
    CHECK(seldom.looks <= 12);
    CHECK(seldom.looks >= 10);
}

TEST_CASE("what has been taken out is not looked at any more, wherever it was in the list", "[watcher]") {
    auto const out = GENERATE(0U, 1U, 2U, 3U);
    posix::watch_room room{};
    std::vector<std::unique_ptr<counted>> all;
    for (unsigned i = 0; i < 4; ++i) {
        all.push_back(std::make_unique<counted>(ms));
        all.back()->due = ms;
        posix::detail::link_watched(room, *all.back(), ms);
    }
    posix::detail::unlink_watched(room, *all[out]);
    posix::detail::unlink_watched(room, *all[out]);
    wake_ups(room, ms, ms);
    for (unsigned i = 0; i < 4; ++i) CHECK(all[i]->looks == (i == out ? 0U : 1U));
}

TEST_CASE("a list that a fork has cut short in the middle of a change can be changed further", "[watcher]") {
    posix::watch_room room{};
    counted first{ms};
    counted second{ms};
    counted third{ms};
    for (counted* each : {&first, &second, &third}) {
        each->due = ms;
        posix::detail::link_watched(room, *each, ms);
    }
    SECTION("adding") {
        counted added{ms};
        added.next = room.levels[first.level].first;  // and nobody knows of it yet
        added.place = &room.levels[first.level].first;
        posix::detail::unlink_watched(room, third);
        wake_ups(room, ms, ms);
        CHECK(added.looks + third.looks == 0);
    }
    SECTION("added, but not known to the next") {
        counted added{ms};
        added.level = third.level;
        added.due = ms;
        added.next = &third;
        added.place = &room.levels[first.level].first;
        room.levels[first.level].first = &added;
        posix::detail::unlink_watched(room, third);
        wake_ups(room, ms, ms);
        CHECK(added.looks == 1);
        CHECK(third.looks == 0);
    }
    SECTION("removing") {
        first.place = second.place;  // second was about to go
        posix::detail::unlink_watched(room, first);
        wake_ups(room, ms, ms);
        CHECK(first.looks == 0);
        CHECK(second.looks == 1);
    }
    CHECK(second.looks == 1);
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

namespace {

// What the watcher is to see: stands for all deadlines of the process.
in_signal::atomic<std::uint64_t> armed{posix::never};

std::uint64_t look_at_armed(posix::watch_room&, posix::look&) noexcept { return armed.load_relaxed(); }

void await(std::atomic<unsigned> const& reached, unsigned round) {
    for (unsigned turns = 0; reached.load() != round; ++turns)
        if (turns < 1000)
            in_signal::relax();
        else
            in_signal::yield();
}

// One thread goes to sleep while another arms: answers how often neither saw the other.
unsigned missed(posix::watch_room& room) {
    constexpr std::uint64_t due = 1'000 * ms;
    constexpr unsigned rounds = 5'000;
    std::atomic<unsigned> begun{0};
    std::atomic<unsigned> ended{0};
    std::uint64_t seen_asleep = 0;
    room.look_at_deadlines.store(&look_at_armed);
    std::thread arms{[&] {
        for (unsigned round = 1; round <= rounds; ++round) {
            await(begun, round);
            for (unsigned i = 0; i < round % 64; ++i) asm volatile("");
            armed.store_release(due);
            seen_asleep = posix::detail::end_of_sleep(room);
            ended.store(round);
        }
    }};
    unsigned count = 0;
    for (unsigned round = 1; round <= rounds; ++round) {
        room.asleep_until.store(0);
        armed.store(posix::never);
        begun.store(round);
        for (unsigned i = 0; i < round % 128; ++i) asm volatile("");
        posix::look at{1, 1, 0};
        std::uint64_t const sleeps = posix::detail::settle_down(room, at, posix::never);
        await(ended, round);
        if (sleeps > due && seen_asleep <= due) ++count;
    }
    arms.join();
    return count;
}

}  // namespace

TEST_CASE("who arms and who goes to sleep at once: one of them sees the other", "[watcher]") {
    bool const by_watcher = GENERATE(true, false);
    posix::watch_room room{};
    if (by_watcher) posix::detail::try_fences(room);
    CHECK(missed(room) == 0);
}

TEST_CASE("fences that the kernel refuses are laid by each thread; refused later, the next sleep is short",
          "[watcher]") {
    auto one = test::child::run([] {
        posix::watch_room room{};
        armed.store(posix::never);
        room.look_at_deadlines.store(&look_at_armed);
        posix::detail::try_fences(room);
        test::require_in_child(room.fenced.load() != posix::fences_untried);
        room.fenced.store(posix::fences_by_watcher);
        test::refuse_call(SYS_membarrier, EPERM);
        posix::look at{ms, 1, 0};
        std::uint64_t const unsure = posix::detail::settle_down(room, at, posix::never);
        test::require_in_child(unsure > at.now && unsure < at.now + 100 * ms);
        test::require_in_child(room.fenced.load() == posix::fences_by_each);
        test::require_in_child(posix::detail::settle_down(room, at, posix::never) == posix::never);
        posix::watch_room fresh{};
        posix::detail::try_fences(fresh);
        test::require_in_child(fresh.fenced.load() == posix::fences_by_each);
    });
    test::outcome const& result = one.wait();
    INFO(result.describe());
    CHECK(result.exited(0));
}
