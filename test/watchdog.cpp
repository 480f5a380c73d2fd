// SPDX-License-Identifier: MIT
#include <tocsin/watchdog.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <limits>
#include <list>
#include <memory>
#include <ratio>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <tocsin/call.hpp>
#include <tocsin/deadline.hpp>
#include <tocsin/defer.hpp>
#include <tocsin/dump.hpp>
#include <tocsin/dump_later.hpp>
#include <tocsin/exit_with.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/stop.hpp>
#include <tocsin/wake.hpp>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using namespace std::chrono_literals;
using test::child;
using test::require_in_child;
using test::say;

namespace {

using steady = std::chrono::steady_clock;

// Something that happens on one thread and is waited for on another, with a deadline; counted.
class event {
  public:
    event() { require_in_child(::pipe(ends_) == 0); }
    ~event() {
        ::close(ends_[0]);
        ::close(ends_[1]);
    }
    event(event const&) = delete;
    event& operator=(event const&) = delete;

    void happens() const {
        char const byte = 'x';
        if (::write(ends_[1], &byte, 1) != 1) ::_exit(98);
    }
    // False if it has not happened once more when the deadline passes.
    bool within(std::chrono::milliseconds deadline) const {
        pollfd ready{ends_[0], POLLIN, 0};
        char byte;
        return ::poll(&ready, 1, static_cast<int>(deadline.count())) == 1 && ::read(ends_[0], &byte, 1) == 1;
    }
    bool happened() const { return within(test::patience); }

  private:
    int ends_[2] = {-1, -1};
};

bool readable(int fd, std::chrono::milliseconds deadline = test::patience) {
    pollfd ready{fd, POLLIN, 0};
    return ::poll(&ready, 1, static_cast<int>(deadline.count())) == 1;
}

// How many threads of this process have this name.
int threads_named(std::string const& wanted) {
    int found = 0;
    DIR* const tasks = ::opendir("/proc/self/task");
    while (dirent const* const entry = ::readdir(tasks)) {
        std::string const path = std::string{"/proc/self/task/"} + entry->d_name + "/comm";
        char name[32] = {};
        int const file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (file < 0) continue;
        if (::read(file, name, sizeof name - 1) > 0 && name == wanted + "\n") ++found;
        ::close(file);
    }
    ::closedir(tasks);
    return found;
}

// Waits until `what` answers true: for states of the kernel's that nothing announces.
template <class What>
bool comes_true(What what) {
    auto const end = steady::now() + test::patience;
    while (!what()) {
        if (steady::now() > end) return false;
        std::this_thread::yield();
    }
    return true;
}

}  // namespace

TEST_CASE("durations become nanoseconds, rounded up and bounded", "[watchdog]") {
    using detail::watch_period;
    STATIC_REQUIRE(watch_period(30s) == 30'000'000'000);
    STATIC_REQUIRE(watch_period(1ns) == 1);
    STATIC_REQUIRE(watch_period(std::chrono::duration<int, std::ratio<1, 3>>{1}) == 333'333'334);
    STATIC_REQUIRE(watch_period(std::chrono::duration<long, std::pico>{1}) == 1);
    STATIC_REQUIRE(watch_period(std::chrono::duration<long, std::atto>{std::numeric_limits<long>::max()}) ==
                   9'223'372'037);
    STATIC_REQUIRE(watch_period(std::chrono::duration<double>{1.5}) == 1'500'000'000);
    STATIC_REQUIRE(watch_period(std::chrono::duration<float, std::nano>{0.25F}) == 1);
    STATIC_REQUIRE(watch_period(std::chrono::duration<unsigned char, std::ratio<3600>>{255}) ==
                   255U * 3'600'000'000'000U);
    STATIC_REQUIRE(watch_period(std::chrono::nanoseconds::max()) == detail::longest_watch);
    STATIC_REQUIRE(watch_period(std::chrono::hours::max()) == detail::longest_watch);
    STATIC_REQUIRE(watch_period(std::chrono::duration<unsigned long, std::exa>{~0UL}) == detail::longest_watch);
    STATIC_REQUIRE(watch_period(std::chrono::duration<double>{std::numeric_limits<double>::infinity()}) ==
                   detail::longest_watch);
    STATIC_REQUIRE(watch_period(0s) == 0);
    STATIC_REQUIRE(watch_period(-1s) == 0);
    STATIC_REQUIRE(watch_period(std::chrono::duration<double>{std::numeric_limits<double>::quiet_NaN()}) == 0);
}

TEST_CASE("zero, negative periods and NaN are an error that names the watchdog", "[watchdog]") {
    expect_success(child::run([] {
        auto const refused = [](auto period) {
            try {
                guard signals{watchdog(period)(exit_with(1))};
            } catch (error const& what) {
                std::string_view const call = what.call();
                return what.code() == EINVAL && what.signal() == 0 && call == "watchdog(period not above zero)";
            }
            return false;
        };
        require_in_child(refused(0s));
        require_in_child(refused(-5ms));
        require_in_child(refused(std::chrono::duration<double>{std::numeric_limits<double>::quiet_NaN()}));
        int code = 0;
        guard const empty{code, watchdog(10s)(exit_with(1)), watchdog(0s)(exit_with(1))};
        require_in_child(code == EINVAL && !empty);
        require_in_child(threads_named("tocsin-watch") == 0);
    }));
}

TEST_CASE("a watchdog of the longest period waits", "[watchdog]") {
    expect_success(child::run([] {
        guard signals{watchdog(std::chrono::hours::max())(exit_with(1)), watchdog(20ms)(wake)};
        require_in_child(readable(signals.fd()));
    }));
}

TEST_CASE("nobody feeds: the watchdog fires between d and 1.25 d after it was armed, and after the last feed",
          "[watchdog]") {
    expect_success(child::run([] {
        constexpr auto period = 200ms;
        auto best = steady::duration::max();  // of a few, because the machine may be busy
        for (int attempt = 0; attempt < 2 || (attempt < 10 && best > period * 5 / 4 + 20ms); ++attempt) {
            auto begin = steady::now();
            guard signals{watchdog(period)(wake)};
            if (attempt % 2 == 1) {
                if (readable(signals.fd(), 70ms)) continue;  // the machine is as busy as that
                begin = steady::now();
                signals.feed();
            }
            require_in_child(readable(signals.fd()));
            auto const took = steady::now() - begin;
            require_in_child(took >= period);
            best = std::min(best, took);
        }
        require_in_child(best <= period * 5 / 4 + 20ms);
    }));
}

TEST_CASE("a watchdog that is fed does not fire", "[watchdog]") {
    expect_success(child::run([] {
        guard signals{watchdog(800ms)(wake)};
        auto const end = steady::now() + 1600ms;
        while (steady::now() < end) {
            require_in_child(!readable(signals.fd(), 20ms));
            signals.feed();
        }
    }));
}

TEST_CASE("any thread may feed", "[watchdog]") {
    expect_success(child::run([] {
        guard signals{watchdog(800ms)(wake)};
        std::atomic<bool> done{false};
        std::thread feeder{[&] {
            while (!done) {
                signals.feed();
                std::this_thread::yield();
            }
        }};
        bool const fired = readable(signals.fd(), 1200ms);
        done = true;
        feeder.join();
        require_in_child(!fired);
    }));
}

TEST_CASE("a hang is reacted to once, and the next one again after a feed", "[watchdog]") {
    expect_success(child::run([] {
        event fired;
        guard signals{watchdog(40ms)(call([&] { fired.happens(); }))};
        require_in_child(fired.happened());
        require_in_child(!fired.within(300ms));
        signals.feed();
        require_in_child(fired.happened());
        require_in_child(!fired.within(100ms));
    }));
}

TEST_CASE("watchdogs of one guard have their own periods and reactions", "[watchdog]") {
    expect_success(child::run([] {
        event first;
        event second;
        event third;
        guard signals{watchdog(400ms)(call([&] { second.happens(); })), watchdog(40ms)(call([&] { first.happens(); })),
                      watchdog(60s)(call([&] { third.happens(); }))};
        require_in_child(first.happened());
        require_in_child(!second.within(0ms));
        require_in_child(second.happened());
        require_in_child(!first.within(100ms));
        require_in_child(!third.within(0ms));
    }));
}

TEST_CASE("a watchdog wakes the loop with a delivery of signal 0", "[watchdog]") {
    expect_success(child::run([] {
        guard signals{watchdog(30ms)(wake)};
        require_in_child(readable(signals.fd()));
        int seen = 0;
        for (delivery const& what : signals.take()) {
            require_in_child(what.signal() == 0 && what.code() == 0 && what.pid() == 0 && what.merged() == 1);
            ++seen;
        }
        require_in_child(seen == 1);
        require_in_child(!readable(signals.fd(), 0ms));
    }));
}

TEST_CASE("call under a watchdog has signal 0 and starts no dispatcher", "[watchdog]") {
    expect_success(child::run([] {
        event fired;
        std::atomic<int> seen{-1};
        guard signals{watchdog(30ms)(call([&](delivery const& what) {
            seen = what.signal();
            fired.happens();
        }))};
        require_in_child(fired.happened());
        require_in_child(seen == 0);
        require_in_child(threads_named("tocsin-dispatch") == 0);
        require_in_child(threads_named("tocsin-help") == 1);
    }));
}

TEST_CASE("call under a watchdog runs while the dispatcher is stuck", "[watchdog]") {
    expect_success(child::run([] {
        event stuck;
        event release;
        event fired;
        guard signals{on<SIGUSR1>(call([&] {
                          stuck.happens();
                          release.happened();
                      })),
                      watchdog(30ms)(call([&] { fired.happens(); }))};
        ::kill(::getpid(), SIGUSR1);
        require_in_child(stuck.happened());
        signals.feed();
        require_in_child(fired.happened());
        release.happens();
    }));
}

TEST_CASE("call under a watchdog runs with the mask of the thread that built the guard", "[watchdog]") {
    expect_success(child::run([] {
        sigset_t some;
        ::sigemptyset(&some);
        ::sigaddset(&some, SIGUSR2);
        ::pthread_sigmask(SIG_BLOCK, &some, nullptr);
        event fired;
        sigset_t seen;
        guard signals{watchdog(30ms)(call([&] {
            ::pthread_sigmask(SIG_SETMASK, nullptr, &seen);
            fired.happens();
        }))};
        require_in_child(fired.happened());
        require_in_child(::sigismember(&seen, SIGUSR2) == 1);
        require_in_child(::sigismember(&seen, SIGTERM) == 0);
    }));
}

TEST_CASE("an exception that leaves a watchdog's call ends the process", "[watchdog]") {
    auto one = child::run([] {
        guard signals{watchdog(20ms)(call([] { throw std::runtime_error{"out"}; }))};
        for (;;) ::pause();
    });
    CHECK(one.wait().killed_by(SIGABRT));
}

TEST_CASE("deferred reactions of a watchdog run where check() is called, each row its own", "[watchdog]") {
    expect_success(child::run([] {
        int first = 0;
        int second = 0;
        std::thread::id where;
        guard signals{watchdog(60s)(defer([&] { ++first; })), watchdog(30ms)(defer([&](delivery const& what) {
                          require_in_child(what.signal() == 0 && what.merged() == 1);
                          where = std::this_thread::get_id();
                          ++second;
                      }))};
        require_in_child(comes_true([&] { return signals.pending(); }));
        require_in_child(second == 0);
        require_in_child(signals.check() == 1);
        require_in_child(first == 0 && second == 1 && where == std::this_thread::get_id());
        require_in_child(!signals.pending() && signals.check() == 0);
        signals.feed();
        require_in_child(comes_true([&] { return signals.pending(); }));
        signals.check();
        require_in_child(first == 0 && second == 2);
    }));
}

TEST_CASE("an exception of one watchdog's deferred reaction leaves those of the others pending", "[watchdog]") {
    expect_success(child::run([] {
        std::string ran;
        event all;
        guard signals{watchdog(20ms)(defer([&] { ran += 'a'; }), defer([&] {
                          ran += 'b';
                          throw std::runtime_error{"b"};
                      })),
                      watchdog(60s)(defer([&] { ran += 'x'; })), watchdog(20ms)(defer([&] { ran += 'c'; })),
                      watchdog(80ms)(call([&] { all.happens(); }))};
        require_in_child(all.happened());
        bool thrown = false;
        try {
            signals.check();
        } catch (std::runtime_error const&) {
            thrown = true;
        }
        require_in_child(thrown && ran == "ab" && signals.pending());
        signals.check();
        require_in_child(ran == "abc" && !signals.pending());
    }));
}

TEST_CASE("a watchdog can ask the program to stop", "[watchdog]") {
    expect_success(child::run([] {
        guard signals{on<SIGTERM>(request_stop), watchdog(30ms)(request_stop)};
        require_in_child(!signals.stop_requested());
        require_in_child(comes_true([&] { return signals.stop_token().stop_requested(); }));
        require_in_child(signals.stop_requested());
    }));
}

TEST_CASE("in_handler under a watchdog is called with signal 0", "[watchdog]") {
    expect_success(child::run([] {
        event fired;
        event* const to = &fired;
        guard signals{watchdog(30ms)(in_handler([to](delivery const& what) noexcept {
            if (what.signal() == 0 && what.context() == nullptr) to->happens();
        }))};
        require_in_child(fired.happened());
    }));
}

TEST_CASE("exit_with comes last and ends the process", "[watchdog]") {
    auto one = child::run([] {
        guard signals{watchdog(30ms)(in_handler([](delivery const&) noexcept { say("handler"); }),
                                     call([] { say("call"); }), exit_with(7))};
        for (;;) ::pause();
    });
    test::outcome const& result = one.wait();
    INFO(result.describe());
    CHECK(result.exited(7));
    CHECK(result.out == "handler\ncall\n");
}

TEST_CASE("a process that was stopped for longer than the period did not hang", "[watchdog]") {
    auto one = child::run([] {
        guard signals{watchdog(400ms)(exit_with(3))};
        say("ready");
        std::string line;
        do {
            signals.feed();
        } while (!readable(STDIN_FILENO, 10ms));
    });
    REQUIRE(one.expect_line("ready"));
    for (int round = 0; round < 2; ++round) {
        test::stop_for(one, 700ms);
    }
    one.close_input();
    CHECK(one.wait().exited(0));
}

TEST_CASE("a process that is traced does not hang, and does when it is left alone", "[watchdog]") {
    auto one = child::run([] {
        std::string line;
        test::hear(line);
        guard signals{watchdog(100ms)(wake)};
        if (readable(signals.fd(), 400ms)) say("hang");
        say("done");
        require_in_child(readable(signals.fd()));
    });
    bool const seized = ::ptrace(PTRACE_SEIZE, one.pid(), nullptr, nullptr) == 0;
    one.tell("go");
    CHECK(one.expect_line(seized ? "done" : "hang"));
    if (seized) {
        CHECK(one.out().find("hang") == std::string::npos);
        REQUIRE(::ptrace(PTRACE_INTERRUPT, one.pid(), nullptr, nullptr) == 0);
        int status = 0;
        REQUIRE(::waitpid(one.pid(), &status, __WALL) == one.pid());
        REQUIRE(::ptrace(PTRACE_DETACH, one.pid(), nullptr, nullptr) == 0);
    }
    CHECK(one.wait().exited(0));
}

TEST_CASE("a guard may be destroyed by its own watchdog's reaction", "[watchdog]") {
    expect_success(child::run([] {
        event known;
        event gone;
        for (int round = 0; round < 3; ++round) {
            std::function<void()> destroy;
            auto* const made = new guard{watchdog(20ms)(wake, defer([] {}), call([&] {
                known.happened();
                destroy();
                gone.happens();
            }), call([] { ::_exit(3); }))};
            destroy = [made] { delete made; };
            known.happens();
            require_in_child(gone.happened());
        }
        event fired;
        guard signals{watchdog(20ms)(call([&] { fired.happens(); }))};
        require_in_child(fired.happened());  // the helper is well
    }));
}

TEST_CASE("the destructor waits for a reaction that is running", "[watchdog]") {
    expect_success(child::run([] {
        event inside;
        event release;
        std::atomic<bool> left{false};
        std::thread releaser;
        {
            guard signals{watchdog(20ms)(call([&] {
                inside.happens();
                release.happened();
                left = true;
            }))};
            require_in_child(inside.happened());
            releaser = std::thread{[&] { release.happens(); }};
        }
        require_in_child(left);
        releaser.join();
    }));
}

TEST_CASE("a watchdog that is removed does not fire any more", "[watchdog]") {
    expect_success(child::run([] {
        event fired;
        for (int round = 0; round < 200; ++round) {
            std::atomic<bool> gone{false};
            {
                guard signals{watchdog(1ms)(call([&] {
                    if (gone) fired.happens();
                }))};
                if (round % 2 == 1) require_in_child(!fired.within(1ms));
            }
            gone = true;
        }
        require_in_child(!fired.within(20ms));
    }));
}

TEST_CASE("once exit() has begun a watchdog calls nothing", "[watchdog]") {
    expect_success(child::run([] {
        static event* fired = new event;
        ::atexit([] {  // registered before the library's own, so it runs after that
            if (fired->within(150ms)) ::_exit(1);
        });
        static guard signals{watchdog(50ms)(call([] { fired->happens(); }))};
        auto* const leaked = new guard{watchdog(50ms)(call([] { fired->happens(); }))};
        signals.feed();
        leaked->feed();
        ::exit(0);
    }));
}

TEST_CASE("in a forked child a watchdog is disarmed, and its guard can be destroyed", "[watchdog]") {
    expect_success(child::run([] {
        std::atomic<int> fired{0};
        guard watched{watchdog(50ms)(call([&] { ++fired; }))};
        {
            auto* const also = new guard{watchdog(50ms)(call([&] { ++fired; }))};
            pid_t const forked = ::fork();
            if (forked == 0) {
                fired = 0;
                event own;
                delete also;
                guard fresh{watchdog(100ms)(call([&] { own.happens(); }))};  // starts the child's own threads
                require_in_child(own.happened());
                require_in_child(!own.within(200ms));
                ::_exit(fired == 0 ? 0 : 1);
            }
            int status = 0;
            require_in_child(::waitpid(forked, &status, 0) == forked && status == 0);
            delete also;
        }
    }));
}

TEST_CASE("a forked child of a process whose reaction is running can destroy the guard", "[watchdog]") {
    expect_success(child::run([] {
        event inside;
        event release;
        auto* const signals = new guard{watchdog(20ms)(call([&] {
            inside.happens();
            release.happened();
        }))};
        require_in_child(inside.happened());
        pid_t const forked = ::fork();
        if (forked == 0) {
            event own;
            guard fresh{watchdog(20ms)(call([&] { own.happens(); }))};
            require_in_child(own.happened());
            delete signals;
            ::exit(0);
        }
        int status = 0;
        require_in_child(::waitpid(forked, &status, 0) == forked && status == 0);
        release.happens();
        delete signals;
    }));
}

TEST_CASE("rearm() arms a forked child's watchdogs anew", "[watchdog]") {
    expect_success(child::run([] {
        int ran = 0;
        guard signals{watchdog(60s)(wake), watchdog(50ms)(wake), watchdog(60s)(defer([&] { ran += 10; })),
                      watchdog(20ms)(defer([&](delivery const& what) {
                          require_in_child(what.merged() == 1);
                          ++ran;
                      }))};
        require_in_child(readable(signals.fd()));
        require_in_child(comes_true([&] { return signals.pending(); }));
        for (int generation = 0; generation < 2; ++generation) {
            pid_t const forked = ::fork();
            if (forked != 0) {
                int status = 0;
                require_in_child(::waitpid(forked, &status, 0) == forked);
                ::_exit(status == 0 ? 0 : 1);
            }
            signals.rearm();
            require_in_child(!signals.pending() && !readable(signals.fd(), 0ms));
            ran = 0;
            require_in_child(comes_true([&] { return signals.pending(); }));
            signals.check();
            require_in_child(ran == 1);
            require_in_child(readable(signals.fd()));
            signals.feed();
            for (delivery const& what : signals.take()) require_in_child(what.signal() == 0);
            require_in_child(readable(signals.fd()));
            require_in_child(threads_named("tocsin-watch") == 1 && threads_named("tocsin-help") == 1);
        }
    }));
}

TEST_CASE("rearm() in the process that built the guard changes nothing", "[watchdog]") {
    expect_success(child::run([] {
        event fired;
        guard signals{watchdog(30ms)(call([&] { fired.happens(); }))};
        require_in_child(fired.happened());
        signals.rearm();
        require_in_child(!fired.within(100ms));
    }));
}

TEST_CASE("many guards share one watcher and one helper", "[watchdog]") {
    expect_success(child::run([] {
        event fired;
        auto const make = [&] { return new guard{watchdog(50ms)(call([&] { fired.happens(); }))}; };
        std::list<std::unique_ptr<std::remove_pointer_t<decltype(make())>>> guards;
        for (int i = 0; i < 100; ++i) guards.emplace_back(make());
        for (int i = 0; i < 100; ++i) require_in_child(fired.happened());
        require_in_child(!fired.within(100ms));
        require_in_child(threads_named("tocsin-watch") == 1);
        require_in_child(threads_named("tocsin-help") == 1);
        while (!guards.empty()) {
            guards.pop_front();
            if (!guards.empty()) guards.pop_back();
        }
        guard last{watchdog(20ms)(wake)};
        require_in_child(readable(last.fd()));
        require_in_child(threads_named("tocsin-watch") == 1);
    }));
}

TEST_CASE("guards with watchdogs come and go on many threads", "[watchdog]") {
    expect_success(child::run([] {
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; ++i)
            threads.emplace_back([] {
                for (int round = 0; round < 100; ++round) {
                    guard signals{watchdog(1ms)(wake), watchdog(2ms)(wake)};
                    if (round % 10 == 0) require_in_child(readable(signals.fd()));
                }
            });
        for (std::thread& each : threads) each.join();
    }));
}

TEST_CASE("while nothing is due the watcher sleeps, and a new guard wakes it", "[watchdog]") {
    expect_success(child::run([] {
        guard signals{watchdog(60s)(wake)};
        { guard another{watchdog(1ms)(exit_with(9))}; }
        rusage before{};
        rusage after{};
        ::getrusage(RUSAGE_SELF, &before);
        require_in_child(!readable(signals.fd(), 200ms));
        ::getrusage(RUSAGE_SELF, &after);
        require_in_child(after.ru_nvcsw - before.ru_nvcsw < 10);  // this thread's poll, and the watcher's last look
        guard soon{watchdog(20ms)(wake)};
        require_in_child(readable(soon.fd(), 5s));
    }));
}

TEST_CASE("a watchdog interrupts no system call of the program", "[watchdog]") {
    expect_success(child::run([] {
        event fired;
        guard signals{watchdog(20ms)(call([&] { fired.happens(); }))};
        timespec const moment{0, 200'000'000};
        require_in_child(::nanosleep(&moment, nullptr) == 0);  // never restarted by the kernel
        require_in_child(fired.within(0ms));
    }));
}

TEST_CASE("a refused thread is an error of the guard, with everything as before", "[watchdog]") {
    expect_success(child::run([] {
        rlimit limit{};
        ::getrlimit(RLIMIT_AS, &limit);
        rlimit const small{1U << 20U, limit.rlim_max};  // no room for a thread's stack
        require_in_child(::setrlimit(RLIMIT_AS, &small) == 0);
        int code = 0;
        {
            guard const signals{code, watchdog(1s)(exit_with(3))};
            require_in_child(!signals);
        }
        require_in_child(code == EAGAIN || code == ENOMEM);
        ::setrlimit(RLIMIT_AS, &limit);
        guard signals{watchdog(20ms)(wake)};
        require_in_child(readable(signals.fd()));
    }));
}

TEST_CASE("a named watchdog is fed by its name, and by nothing else", "[watchdog]") {
    expect_success(child::run([] {
        event render;
        event other;
        event unnamed;
        guard signals{watchdog<"render">(300ms)(call([&] { render.happens(); })),
                      watchdog<"load">(60s)(call([&] { other.happens(); })),
                      watchdog(300ms)(call([&] { unnamed.happens(); }))};
        auto const end = steady::now() + 700ms;
        while (steady::now() < end && !unnamed.within(10ms)) signals.feed<"render">();
        require_in_child(steady::now() < end);  // nobody fed the one without a name
        require_in_child(!render.within(0ms));
        while (!render.within(10ms)) signals.feed();
        require_in_child(!unnamed.within(0ms) && !other.within(0ms));
    }));
}

TEST_CASE("a named watchdog with stages is fed by its name", "[watchdog]") {
    expect_success(child::run([] {
        event first;
        event second;
        guard signals{watchdog<"a">(60s)(wake), watchdog<"b">(40ms)(call([&] { first.happens(); }))
                                                    .then(150ms)(call([&] { second.happens(); })),
                      watchdog<"c">(60s)(wake)};
        require_in_child(first.happened() && second.happened());
        signals.feed<"a">();
        signals.feed<"c">();
        require_in_child(!first.within(100ms));
        signals.feed<"b">();
        require_in_child(first.happened() && second.happened());
    }));
}

TEST_CASE("a hang goes through the stages, the last of which may end the process", "[watchdog]") {
    auto one = child::run([] {
        guard signals{watchdog(40ms)(call([] { say("first"); }))
                          .then(80ms)(call([] { say("second"); }))
                          .then(200ms)(exit_with(7))};
        for (;;) ::pause();
    });
    test::outcome const& result = one.wait();
    INFO(result.describe());
    CHECK(result.exited(7));
    CHECK(result.out == "first\nsecond\n");
}

TEST_CASE("stages run their own deferred reactions", "[watchdog]") {
    expect_success(child::run([] {
        std::string ran;
        guard signals{watchdog(20ms)(defer([&] { ran += 'a'; })).then(60ms)(defer([&] { ran += 'b'; }))};
        require_in_child(comes_true([&] { return signals.pending(); }));
        signals.check();
        require_in_child(ran == "a");
        require_in_child(comes_true([&] { return signals.pending(); }));
        signals.check();
        require_in_child(ran == "ab");
    }));
}

TEST_CASE("a stage that repeats does so while the hang lasts", "[watchdog]") {
    expect_success(child::run([] {
        event fired;
        guard signals{watchdog(40ms)(call([&] { fired.happens(); })).every(20ms)};
        for (int i = 0; i < 4; ++i) require_in_child(fired.happened());
        auto const rest = signals.resting();
        while (fired.within(100ms)) {
        }
    }));
}

namespace {

using moments = std::vector<std::int64_t>;  // in nanoseconds

// How far it is from where a period ends that began with `front`.
std::int64_t offset_in(std::int64_t at, std::int64_t front, std::int64_t period) {
    std::int64_t const passed = at - front;
    return passed - (passed + period / 2) / period * period;
}

// The longest run of them in which none was late by a quarter of the period, be it in two or three steps. Behind one
// that was, the watcher may have taken the process for one that did not run, and begun anew.
moments longest_run(moments const& all, std::int64_t period) {
    moments longest;
    moments run;
    std::int64_t earliest = 0;
    for (std::int64_t const each : all) {
        std::int64_t const step = run.empty() ? period : each - run.back();
        std::int64_t const offset = run.empty() ? 0 : offset_in(each, run.front(), period);
        bool const by_and_by = step > period + period / 10 && offset - earliest > period / 4;
        bool const anew = run.empty() || step > period + period / 4 || by_and_by;
        if (anew) run.clear();
        earliest = anew ? 0 : std::min(earliest, offset);
        run.push_back(each);
        if (run.size() > longest.size()) longest = run;
    }
    return longest;
}

// By how much the last of a run are later in their period than the first. The scheduler adds to each; the earliest of
// many is on time.
std::int64_t drift(moments const& run, std::int64_t period) {
    constexpr std::size_t many = 25;
    auto const offset = [&](std::int64_t at) { return offset_in(at, run.front(), period); };
    std::int64_t first = period;
    std::int64_t last = period;
    for (std::size_t i = 0; i < many; ++i) {
        first = std::min(first, offset(run[i]));
        last = std::min(last, offset(run[run.size() - 1 - i]));
    }
    return last - first;
}

}  // namespace

TEST_CASE("a repeat of 10 ms keeps its time over 1,000 periods to less than 1 ms", "[watchdog]") {
    auto process = child::run([] {
        static moments fired;  // the helper alone adds to it
        static std::atomic<std::size_t> count{0};
        fired.reserve(2000);
        {
            guard signals{watchdog(10ms)(in_handler([](delivery const&) noexcept {
                if (fired.size() == fired.capacity()) return;
                fired.push_back(steady::now().time_since_epoch().count());
                ++count;
            })).every(10ms)};
            event never;
            while (count < 950) static_cast<void>(never.within(50ms));
        }
        constexpr std::int64_t period = 10'000'000;
        moments const run = longest_run(fired, period);
        if (run.size() < 100) return test::say("busy");
        std::int64_t const off = drift(run, period);
        if (off >= 1'000'000 || off <= -1'000'000) {
            ::dprintf(STDERR_FILENO, "%lld ns in %zu periods\n", static_cast<long long>(off), run.size());
            ::_exit(1);
        }
    });
    auto const& result = process.wait(60s);
    INFO(result.describe());
    CHECK(result.exited(0));
    if (result.out == "busy\n") WARN("left out: no hundred periods in which the machine was on time");
}

TEST_CASE("a stage that is not later, and a repeat of nothing, are errors that name the word", "[watchdog]") {
    expect_success(child::run([] {
        auto const refused = [](auto row, std::string_view call) {
            try {
                guard signals{std::move(row)};
            } catch (error const& what) {
                return what.code() == EINVAL && what.call() == call;
            }
            return false;
        };
        require_in_child(refused(watchdog(50ms)(wake).then(50ms)(wake), "watchdog.then"));
        require_in_child(refused(watchdog(50ms)(wake).then(-1s)(wake), "watchdog.then"));
        require_in_child(refused(watchdog(50ms)(wake).then(60ms)(wake).then(55ms)(wake), "watchdog.then"));
        require_in_child(refused(watchdog(50ms)(wake).every(0s), "watchdog.every"));
        require_in_child(refused(watchdog<"x">(0s)(wake), "watchdog(period not above zero)"));
    }));
}

TEST_CASE("a guard that rests does not hang, and is armed anew at the end of its last rest", "[watchdog]") {
    expect_success(child::run([] {
        event fired;
        event named;
        guard signals{watchdog(100ms)(call([&] { fired.happens(); })),
                      watchdog<"x">(300ms)(call([&] { named.happens(); }))};
        {
            auto const outer = signals.resting();
            std::thread{[&] { auto const inner = signals.resting(); }}.join();
            require_in_child(!fired.within(250ms));
            require_in_child(named.happened());  // it has a name, and does not rest
        }
        auto const begin = steady::now();
        require_in_child(fired.happened());
        require_in_child(steady::now() - begin >= 100ms);
    }));
}

TEST_CASE("while its guard rests the watcher sleeps", "[watchdog]") {
    expect_success(child::run([] {
        guard signals{watchdog(8ms)(exit_with(3))};
        auto const idle = signals.resting();
        ::poll(nullptr, 0, 20);
        rusage before{};
        rusage after{};
        ::getrusage(RUSAGE_SELF, &before);
        ::poll(nullptr, 0, 300);
        ::getrusage(RUSAGE_SELF, &after);
        require_in_child(after.ru_nvcsw - before.ru_nvcsw < 10);
    }));
}

TEST_CASE("rests that end while the watcher falls asleep do not stop it for good", "[watchdog]") {
    expect_success(child::run([] {
        event fired;
        guard signals{watchdog(1ms)(call([&] { fired.happens(); }))};
        for (int round = 0; round < 300; ++round) {
            {
                auto const idle = signals.resting();
                timespec const moment{0, 50'000 + round * 2'000};
                ::nanosleep(&moment, nullptr);
            }
            while (fired.within(0ms)) {
            }
            if (round % 10 == 0) require_in_child(fired.happened());
        }
        signals.feed();
        require_in_child(fired.happened());
    }));
}

TEST_CASE("rearm() ends the rests that began before fork", "[watchdog]") {
    expect_success(child::run([] {
        guard signals{watchdog(30ms)(wake)};
        auto const idle = signals.resting();
        pid_t const forked = ::fork();
        if (forked == 0) {
            {
                auto const another = signals.resting();  // begins and ends before the child is armed
            }
            signals.rearm();
            require_in_child(readable(signals.fd()));
            ::_exit(0);
        }
        int status = 0;
        require_in_child(::waitpid(forked, &status, 0) == forked && status == 0);
    }));
}

TEST_CASE("the title of a report says which watchdog, and for how long", "[watchdog]") {
    auto one = child::run([] {
        guard signals{watchdog<"render">(30ms)(dump_threads.this_thread())
                          .then(60ms)(dump_threads.this_thread(), exit_with(4))};
        for (;;) ::pause();
    });
    test::outcome const& result = one.wait();
    INFO(result.describe());
    CHECK(result.exited(4));
    CHECK(result.err.find("tocsin: watchdog \"render\": not fed for 30 ms, process ") == 0);
    CHECK(result.err.find("\ntocsin: watchdog \"render\": not fed for 60 ms, process ") != std::string::npos);
    CHECK(result.err.rfind("tocsin: end of report, 1 thread\n") == result.err.size() - 32);
}

TEST_CASE("a thousand guards that hang at once are all reacted to", "[watchdog]") {
    expect_success(child::run([] {
        std::atomic<int> fired{0};
        auto const make = [&] { return new guard{watchdog(60ms)(call([&] { ++fired; }))}; };
        std::vector<std::unique_ptr<std::remove_pointer_t<decltype(make())>>> guards;
        for (int i = 0; i < 1000; ++i) guards.emplace_back(make());
        require_in_child(comes_true([&] { return fired == 1000; }));
        guards.clear();
        require_in_child(fired == 1000);
    }));
}

TEST_CASE("a child that is forked with everything armed ends at once, and can arm its own", "[watchdog]") {
    expect_success(child::run([] {
        std::atomic<int> fired{0};
        static guard signals{watchdog(150ms)(call([&] { ++fired; })).then(1h)(exit_with(5)).every(1h),
                             watchdog<"render">(150ms)(call([&] { ++fired; }))};
        deadline const scope{"parent", 1h};
        dump_later(1h, exiting);
        for (bool const rearmed : {false, true}) {
            pid_t const forked = ::fork();
            if (forked == 0) {
                fired = 0;
                if (rearmed) signals.rearm();
                if (rearmed) require_in_child(comes_true([&] { return fired == 2; }));
                ::exit(0);
            }
            int status = -1;
            require_in_child(::waitpid(forked, &status, 0) == forked && status == 0);
        }
        cancel_dump_later();
    }));
}
