// SPDX-License-Identifier: MIT
#include <tocsin/watchdogs.hpp>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <tocsin/call.hpp>
#include <tocsin/defer.hpp>
#include <tocsin/dump.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/wake.hpp>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using namespace std::chrono_literals;
using test::child;
using test::require_in_child;

namespace {

using steady = std::chrono::steady_clock;

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// What has been silent, in the order of the reactions: the pointers that they were given.
class silent_ones {
  public:
    silent_ones() { require_in_child(::pipe(ends_) == 0); }
    ~silent_ones() {
        ::close(ends_[0]);
        ::close(ends_[1]);
    }
    silent_ones(silent_ones const&) = delete;
    silent_ones& operator=(silent_ones const&) = delete;

    void add(void* who) const { require_in_child(::write(ends_[1], &who, sizeof who) == sizeof who); }
    // Null if nobody more is silent when the time has passed.
    void* next(std::chrono::milliseconds patience = test::patience) const {
        pollfd ready{ends_[0], POLLIN, 0};
        void* who = nullptr;
        if (::poll(&ready, 1, static_cast<int>(patience.count())) != 1) return nullptr;
        return ::read(ends_[0], &who, sizeof who) == sizeof who ? who : nullptr;
    }
    auto reaction() const {
        return call([this](delivery const& what) { add(what.pointer()); });
    }

  private:
    int ends_[2] = {-1, -1};
};

// Somebody to be told from others by the address.
struct somebody {
    char unused;
};

void pass(std::chrono::milliseconds time) { ::poll(nullptr, 0, static_cast<int>(time.count())); }

template <class F>
int error_of(F f) {
    try {
        f();
    } catch (error const& what) {
        return what.code();
    }
    return 0;
}

}  // namespace

TEST_CASE("the report names the member that was silent, and no other", "[watchdogs]") {
    auto one = child::run([] {
        watchdogs workers{100};
        std::vector<watched_member> fed;
        for (int i = 0; i < 9; ++i) fed.push_back(workers.add(("worker " + std::to_string(i)).c_str(), 300ms));
        guard signals{watchdog(workers)(dump_threads.this_thread())};
        auto const silent = workers.add("the silent one", 60ms);
        for (auto const end = steady::now() + 500ms; steady::now() < end; pass(5ms))
            for (auto& each : fed) each.feed();
        require_in_child(workers.size() == 10 && workers.room() == 100);
    });
    test::outcome const& result = one.wait();
    INFO(result.describe());
    REQUIRE(result.exited(0));
    CHECK(result.err.find("tocsin: watchdog \"the silent one\": not fed for 60 ms, process ") == 0);
    CHECK(!contains(result.err, "worker"));
    CHECK(result.err.find("not fed", 60) == std::string::npos);
}

TEST_CASE("a member is reacted to once a hang, not before its period is over, and feeding makes it ready again",
          "[watchdogs]") {
    expect_success(child::run([] {
        silent_ones silent;
        somebody worker{};
        watchdogs workers{1};
        guard signals{watchdog(workers)(silent.reaction())};
        auto member = workers.add("worker", 80ms, &worker);
        for (int i = 0; i < 3; ++i) {
            auto const begin = steady::now();
            member.feed();
            require_in_child(silent.next() == &worker);
            require_in_child(steady::now() - begin >= 80ms);
            require_in_child(silent.next(150ms) == nullptr);
        }
    }));
}

TEST_CASE("each member has its own period, whatever the others have", "[watchdogs]") {
    expect_success(child::run([] {
        silent_ones silent;
        somebody all[4];
        watchdogs workers{200};
        guard signals{watchdog(workers)(silent.reaction())};
        std::vector<watched_member> members;
        for (int i = 0; i < 100; ++i) members.push_back(workers.add("seldom", 1h));
        members.push_back(workers.add("fourth", 400ms, &all[3]));
        members.push_back(workers.add("second", 60ms, &all[1]));
        members.push_back(workers.add("third", 200ms, &all[2]));
        members.push_back(workers.add("first", 10ms, &all[0]));
        members.push_back(workers.add("never", std::chrono::hours::max()));
        for (somebody& each : all) require_in_child(silent.next() == &each);
        require_in_child(silent.next(30ms) == nullptr);
    }));
}

TEST_CASE("members that were there before the guard are watched from its construction on", "[watchdogs]") {
    expect_success(child::run([] {
        silent_ones silent;
        somebody worker{};
        watchdogs workers{3};
        auto const member = workers.add("worker", 50ms, &worker);
        pass(100ms);
        auto const begin = steady::now();
        {
            guard signals{watchdog(workers)(silent.reaction())};
            require_in_child(silent.next() == &worker && steady::now() - begin >= 50ms);
        }
        somebody another{};
        auto const late = workers.add("late", 10ms, &another);  // no guard has the table any more
        require_in_child(silent.next(40ms) == nullptr);
        guard again{watchdog(workers)(silent.reaction())};
        require_in_child(silent.next() == &another && silent.next() == &worker);
    }));
}

TEST_CASE("members come and go on many threads while others are fed", "[watchdogs]") {
    expect_success(child::run([] {
        silent_ones silent;
        somebody worker{};
        watchdogs workers{300};
        guard signals{watchdog(workers)(silent.reaction())};
        std::atomic<bool> done{false};
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; ++i)
            threads.emplace_back([&, i] {
                std::vector<watched_member> own;
                for (unsigned turn = 0; !done; ++turn) {
                    if (own.size() < 60) own.push_back(workers.add("busy", std::chrono::seconds{5 + i * 10}));
                    for (auto& each : own) each.feed();
                    if (turn % 3 == 0) own.erase(own.begin() + static_cast<long>(turn % own.size()));
                    if (turn % 200 == 199) own.clear();
                    std::this_thread::yield();
                }
            });
        for (int i = 0; i < 5; ++i) {
            auto const member = workers.add("silent", 20ms, &worker);
            require_in_child(silent.next() == &worker);
        }
        done = true;
        for (auto& each : threads) each.join();
        require_in_child(workers.size() == 0 && silent.next(0ms) == nullptr);
    }));
}

TEST_CASE("who has been removed is not reacted to, and its place is for somebody else", "[watchdogs]") {
    expect_success(child::run([] {
        silent_ones silent;
        somebody second{};
        watchdogs workers{1};
        guard signals{watchdog(workers)(silent.reaction())};
        std::optional<watched_member> member{workers.add("first", 40ms)};
        pass(15ms);
        member.reset();
        watched_member other = workers.add("second", 60ms, &second);
        require_in_child(silent.next() == &second);
        watched_member const moved = std::move(other);
        require_in_child(moved && !other);
        other.feed();  // in vain
        require_in_child(workers.size() == 1);
    }));
}

TEST_CASE("a member keeps its place wherever it is moved, and an empty one is fed in vain", "[watchdogs]") {
    static_assert(sizeof(watched_member) == 2 * sizeof(void*));
    watchdogs table{70};
    std::vector<watched_member> all(3);
    for (watched_member& each : all) each.feed();
    CHECK(!all[0]);
    static_cast<void>(all[0].resting());
    all.clear();
    for (int i = 0; i < 70; ++i) all.push_back(table.add("member", 1h));  // the vector moves them now and then
    CHECK(table.size() == 70);
    watched_member& itself = all[69];
    all[69] = std::move(itself);
    CHECK(all[69]);
    all[0] = std::move(all[69]);
    CHECK((all[0] && !all[69] && table.size() == 69));
    all[69].feed();
    all[68] = watched_member{};
    CHECK((!all[68] && table.size() == 68));
    for (watched_member& each : all) each.feed();
    all.clear();
    CHECK(table.size() == 0);
    for (std::size_t room = 1; room < 8; ++room) {
        watchdogs small{room};
        std::vector<watched_member> few;
        for (std::size_t i = 0; i < room; ++i) few.push_back(small.add("one of few", 1h));
        CHECK(small.size() == room);
        few.clear();
        CHECK(small.size() == 0);
    }
}

TEST_CASE("a handler and other threads may feed", "[watchdogs]") {
    expect_success(child::run([] {
        static watched_member member;
        silent_ones silent;
        watchdogs workers{1};
        guard signals{watchdog(workers)(silent.reaction()),
                      on<SIGUSR1>(in_handler([](delivery const&) noexcept { member.feed(); }))};
        somebody worker{};
        member = workers.add("worker", 300ms, &worker);
        std::thread other{[] {
            for (auto const end = steady::now() + 500ms; steady::now() < end; pass(10ms)) member.feed();
        }};
        other.join();
        for (auto const end = steady::now() + 500ms; steady::now() < end; pass(10ms)) ::raise(SIGUSR1);
        require_in_child(silent.next(0ms) == nullptr && silent.next() == &worker);
        member = {};
    }));
}

TEST_CASE("a resting member is not silent, and is watched anew when its rests have ended", "[watchdogs]") {
    expect_success(child::run([] {
        silent_ones silent;
        somebody worker{};
        watchdogs workers{4};
        guard signals{watchdog(workers)(silent.reaction())};
        auto member = workers.add("worker", 50ms, &worker);
        auto begin = steady::now();
        {
            auto const outer = member.resting();
            { auto const inner = member.resting(); }
            require_in_child(silent.next(150ms) == nullptr);
            begin = steady::now();
        }
        require_in_child(silent.next() == &worker && steady::now() - begin >= 50ms);
    }));
}

TEST_CASE("the reactions of a table's row are those of any watchdog's", "[watchdogs]") {
    expect_success(child::run([] {
        static std::atomic<void*> seen{nullptr};
        somebody worker{};
        somebody other{};
        int deferred = 0;
        watchdogs workers{4};
        watchdogs others{4};
        silent_ones silent;
        guard signals{
            watchdog(workers)(in_handler([](delivery const& what) noexcept { seen = what.pointer(); }), wake,
                              defer([&] { ++deferred; })),
            watchdog(others)(silent.reaction()),
            watchdog<"own">(30ms)(silent.reaction()),
        };
        auto const member = workers.add(nullptr, 20ms, &worker);
        auto const elsewhere = others.add("", 80ms, &other);
        pollfd ready{signals.fd(), POLLIN, 0};
        require_in_child(::poll(&ready, 1, 5000) == 1 && seen == &worker);
        for (delivery const& what : signals.take()) require_in_child(what.signal() == 0);
        require_in_child(signals.check() == 1 && deferred == 1);
        require_in_child(silent.next() == nullptr);  // the guard's own watchdog is about nobody
        require_in_child(silent.next() == &other);
    }));
}

TEST_CASE("what a table refuses is a clear error", "[watchdogs]") {
    expect_success(child::run([] {
        require_in_child(error_of([] { watchdogs none{0}; }) == EINVAL);
        require_in_child(error_of([] { watchdogs many{std::numeric_limits<std::size_t>::max()}; }) == EINVAL);
        watchdogs workers{2};
        require_in_child(error_of([&] { static_cast<void>(workers.add("none", 0s)); }) == EINVAL);
        require_in_child(error_of([&] { static_cast<void>(workers.add("negative", -1ms)); }) == EINVAL);
        std::chrono::duration<double> const no_number{std::numeric_limits<double>::quiet_NaN()};
        require_in_child(error_of([&] { static_cast<void>(workers.add("NaN", no_number)); }) == EINVAL);
        auto const first = workers.add("first", 1h);
        auto const second = workers.add("second", 1h);
        require_in_child(error_of([&] { static_cast<void>(workers.add("third", 1h)); }) == ENOSPC);
        int code = 0;
        watched_member const refused = workers.add(code, "third", 1h);
        require_in_child(code == ENOSPC && !refused);
        watchdogs empty{code, 0};
        require_in_child(code == EINVAL && empty.room() == 0 && error_of([&] {
                             static_cast<void>(empty.add("nobody", 1h));
                         }) == EINVAL);
        {
            guard signals{watchdog(workers)(wake)};
            require_in_child(error_of([&] { guard twice{watchdog(workers)(wake)}; }) == EBUSY);
        }
        guard signals{watchdog(workers)(wake)};
        require_in_child(error_of([&] { guard none{watchdog(empty)(wake)}; }) == EINVAL);
    }));
}

TEST_CASE("a long name is cut off, and the report says it whole otherwise", "[watchdogs]") {
    auto one = child::run([] {
        watchdogs workers{1};
        guard signals{watchdog(workers)(dump_threads.this_thread())};
        auto const member = workers.add("a name of more than twenty-three", 10ms);
        pass(100ms);
    });
    test::outcome const& result = one.wait();
    INFO(result.describe());
    CHECK(result.err.find("tocsin: watchdog \"a name of more than twe\": not fed for 10 ms") == 0);
}

TEST_CASE("a table, its guard and its members end in any order, and from a reaction", "[watchdogs]") {
    expect_success(child::run([] {
        silent_ones silent;
        somebody worker{};
        auto workers = std::make_unique<watchdogs>(5U);
        auto member = workers->add("worker", 30ms, &worker);
        {
            guard signals{watchdog(*workers)(silent.reaction())};
            workers.reset();
            require_in_child(silent.next() == &worker);
            member.feed();
            require_in_child(silent.next() == &worker);
        }
        member.feed();
        member = {};
        auto others = std::make_unique<watchdogs>(5U);
        std::atomic<int> reactions{0};
        std::function<void()> end;
        auto signals = std::make_unique<guard<decltype(watchdog(*others)(call(std::function<void()>{})))>>(
            watchdog(*others)(call(std::function<void()>{[&] { end(); }})));
        std::atomic<bool> added{false};
        std::atomic<bool> ended{false};
        end = [&] {
            while (!added) pass(1ms);
            ++reactions;
            signals.reset();
            others.reset();
            ended = true;
        };
        auto a = others->add("a", 10ms);
        auto b = others->add("b", 10ms);
        added = true;
        while (!ended) pass(1ms);
        pass(30ms);
        require_in_child(reactions == 1);
    }));
}

TEST_CASE("in a forked child a table is not watched until its guard is armed anew", "[watchdogs]") {
    expect_success(child::run([] {
        silent_ones silent;
        somebody worker{};
        somebody another{};
        watchdogs workers{3};
        guard signals{watchdog(workers)(silent.reaction())};
        auto member = workers.add("worker", 300ms, &worker);
        pid_t const forked = ::fork();
        if (forked == 0) {
            auto const added = workers.add("another", 500ms, &another);
            auto gone = std::make_unique<watched_member>(workers.add("gone", 10ms));
            gone.reset();
            require_in_child(silent.next(400ms) == nullptr);
            signals.rearm();
            require_in_child(silent.next() == &worker && silent.next() == &another);
            ::_exit(0);
        }
        for (auto const end = steady::now() + 250ms; steady::now() < end; pass(5ms)) member.feed();
        int status = 0;
        while (::waitpid(forked, &status, WNOHANG) == 0) {
            member.feed();
            pass(5ms);
        }
        require_in_child(status == 0);
    }));
}

TEST_CASE("a process that was stopped has no silent members", "[watchdogs]") {
    auto one = child::run([] {
        watchdogs workers{2};
        guard signals{watchdog(workers)(dump_threads)};
        auto const seldom = workers.add("seldom", 1h);
        auto const member = workers.add("worker", 800ms);
        test::say("ready");
        test::wait_for_parent();
    });
    REQUIRE(one.expect_line("ready"));
    test::stop_for(one, 1000ms);
    ::poll(nullptr, 0, 60);
    one.close_input();
    test::outcome const& result = one.wait();
    INFO(result.describe());
    CHECK(result.exited(0));
    CHECK(result.err.empty());
}

TEST_CASE("thousands of members cost the wake-ups of one", "[watchdogs]") {
    expect_success(child::run([] {
        watchdogs workers{5000};
        guard signals{watchdog(workers)(wake)};
        std::vector<watched_member> members;
        for (int i = 0; i < 5000; ++i) {
            members.push_back(workers.add("worker", std::chrono::milliseconds{400 + i % 100}));
            if (i % 500 == 0) pass(3ms);
        }
        for (auto& each : members) each.feed();
        pass(250ms);
        for (auto& each : members) each.feed();
        rusage before{};
        rusage after{};
        ::getrusage(RUSAGE_SELF, &before);
        int own = 0;
        for (auto const end = steady::now() + 1s; steady::now() < end; ++own) {
            for (auto& each : members) each.feed();
            pass(50ms);
        }
        ::getrusage(RUSAGE_SELF, &after);
        long const of_watcher = after.ru_nvcsw - before.ru_nvcsw - own;
        require_in_child(of_watcher <= 20);  // 10 looks a second, and what the edges add
        pollfd ready{signals.fd(), POLLIN, 0};
        require_in_child(::poll(&ready, 1, 0) == 0);
    }));
}
