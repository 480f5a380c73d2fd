// SPDX-License-Identifier: MIT
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
