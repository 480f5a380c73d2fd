// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/call.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/stop.hpp>
#include <tocsin/wake.hpp>

#include <sys/prctl.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

using namespace tocsin;
using namespace tocsin::test;

TEST_CASE("a call runs on a thread of the library, and may lock and allocate", "[call]") {
    in_child([] {
        std::mutex lock;
        std::map<int, std::string> heard;
        in_signal::atomic<int> thread;
        guard signals{on<SIGHUP>(call([&](delivery const& d) {
            std::lock_guard const locked{lock};
            heard[d.signal()] = std::string(1000, 'x');
            thread.store(::gettid());
        }))};
        ::raise(SIGHUP);
        until([&] { return thread.load() != 0; });
        require_in_child(thread.load() != ::gettid());
        std::lock_guard const locked{lock};
        require_in_child(heard.size() == 1 && heard.count(SIGHUP) == 1);
    });
}

TEST_CASE("a call says who sent the signal and how many arrivals it stands for", "[call]") {
    in_child([] {
        in_signal::atomic<int> entered;
        in_signal::atomic<int> leave;
        in_signal::atomic<unsigned long> total;
        guard signals{on<SIGHUP>(call([&](delivery const& d) {
            require_in_child(d.pid() == ::getpid() && d.code() == SI_TKILL);
            total.fetch_add(d.merged());
            entered.fetch_add(1);
            until([&] { return leave.load() != 0; });
        }))};
        ::raise(SIGHUP);
        until([&] { return entered.load() == 1; });
        for (int i = 0; i < 5; ++i) ::raise(SIGHUP);
        leave.store(1);
        until([&] { return entered.load() == 2; });
        require_in_child(total.load() == 6);
    });
}

TEST_CASE("queued signals are called one by one, in order if one thread takes them", "[call]") {
    in_child([] {
        in_signal::atomic<int> next;
        guard const others{on<rt<2>>(wake)};
        guard signals{on<rt<0>>(call([&](delivery const& d) {
            require_in_child(d.value() == next.load() && d.merged() == 1);
            sigset_t now;  // two threads that take them from the kernel would change their order
            ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
            require_in_child(sigismember(&now, rt<0>) == 1 && sigismember(&now, rt<2>) == 1);
            require_in_child(sigismember(&now, rt<1>) == 0 && sigismember(&now, SIGUSR1) == 0);
            next.fetch_add(1);
        }))};
        for (int i = 0; i < 5000; ++i) queue_value(::getpid(), rt<0>, i);
        until([&] { return next.load() == 5000; });
    });
}

TEST_CASE("queued signals are all called, whichever threads take them", "[call]") {
    in_child([] {
        std::vector<in_signal::atomic<int>> seen(5000);
        in_signal::atomic<int> total;
        guard signals{on<rt<0>>(call([&](delivery const& d) {
            seen[static_cast<std::size_t>(d.value())].fetch_add(1);
            total.fetch_add(1);
        }))};
        for (int i = 0; i < 5000; ++i) queue_value(::getpid(), rt<0>, i);
        until([&] { return total.load() == 5000; });
        for (auto const& each : seen) require_in_child(each.load() == 1);
    });
}

TEST_CASE("no call is forgotten, however closely signals follow each other", "[call]") {
    in_child([] {
        in_signal::atomic<int> ran;
        guard signals{on<SIGHUP>(call([&] { ran.fetch_add(1); }))};
        for (int i = 0; i < 20'000; ++i) {
            int const before = ran.load();
            ::raise(SIGHUP);
            until([&] { return ran.load() != before; });
        }
    });
}

TEST_CASE("one call runs at a time, in the order of the signals' numbers", "[call]") {
    in_child([] {
        in_signal::atomic<int> inside;
        in_signal::atomic<int> leave;
        std::vector<int> order;
        in_signal::atomic<int> ran;
        auto const f = [&](delivery const& d) {
            require_in_child(inside.fetch_add(1) == 0);
            if (d.signal() == SIGWINCH) until([&] { return leave.load() != 0; });
            order.push_back(d.signal());
            ran.fetch_add(1);
            inside.fetch_sub(1);
        };
        guard first{on<SIGWINCH, SIGUSR2, SIGHUP>(call(f))};
        ::raise(SIGWINCH);
        until([&] { return inside.load() == 1; });
        ::raise(SIGUSR2);
        ::raise(SIGHUP);
        leave.store(1);
        until([&] { return ran.load() == 3; });
        require_in_child(order == std::vector<int>{SIGWINCH, SIGHUP, SIGUSR2});
    });
}

TEST_CASE("a stop is dispatched before calls that wait", "[call]") {
    in_child([] {
        in_signal::atomic<int> entered;
        in_signal::atomic<int> leave;
        in_signal::atomic<int> stopped_before;
        guard stopping{on<SIGTERM>(request_stop)};
        auto const token = stopping.stop_token();
        guard signals{on<SIGHUP>(call([&] {
                          entered.fetch_add(1);
                          until([&] { return leave.load() != 0; });
                      })),
                      on<SIGUSR1>(call([&] { stopped_before.store(token.stop_requested() ? 2 : 1); }))};
        ::raise(SIGHUP);
        until([&] { return entered.load() == 1; });
        ::raise(SIGUSR1);
        ::raise(SIGTERM);
        leave.store(1);
        until([&] { return stopped_before.load() != 0; });
        require_in_child(stopped_before.load() == 2);
    });
}

TEST_CASE("a call runs with the mask of the thread that built the guard", "[call]") {
    in_child([] {
        block_signal(SIGWINCH);
        in_signal::atomic<int> seen;
        guard signals{on<SIGHUP>(call([&] {
            sigset_t now;
            ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
            bool right = true;
            for (int number = 1; number < NSIG; ++number)
                right = right && (::sigismember(&now, number) == 1) == (number == SIGWINCH);
            seen.store(right ? 2 : 1);
        }))};
        ::raise(SIGHUP);
        until([&] { return seen.load() != 0; });
        require_in_child(seen.load() == 2);
    });
}

TEST_CASE("a process that a call starts blocks nothing and can be stopped", "[call]") {
    in_child([] {
        in_signal::atomic<int> started;
        guard signals{on<SIGHUP>(call([&] {
            pid_t const made = ::fork();
            if (made == 0) {
                ::execlp("sleep", "sleep", "1000", nullptr);
                ::_exit(127);
            }
            started.store(made);
        }))};
        ::raise(SIGHUP);
        until([&] { return started.load() != 0; });
        pid_t const made = started.load();
        std::string const link = "/proc/" + std::to_string(made) + "/comm";
        until([&] {
            std::FILE* const file = std::fopen(link.c_str(), "r");
            char name[32]{};
            bool const read = std::fgets(name, sizeof name, file) != nullptr;
            std::fclose(file);
            return read && std::string{name} == "sleep\n";
        });
        require_in_child(status_mask(made, "SigBlk:") == 0);
        ::kill(made, SIGTERM);
        int status = 0;
        require_in_child(::waitpid(made, &status, 0) == made);
        require_in_child(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    });
}

TEST_CASE("an exception that leaves a call ends the process", "[call]") {
    auto process = child::run([] {
        guard signals{on<SIGHUP>(call([] { throw std::runtime_error{"nobody catches this"}; }))};
        ::raise(SIGHUP);
        for (;;) ::pause();
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.killed_by(SIGABRT));
    CHECK(result.err.find("nobody catches this") != std::string::npos);
}

TEST_CASE("the guard's destructor waits for a running call, and no other starts", "[call]") {
    in_child([] {
        in_signal::atomic<int> entered;
        in_signal::atomic<int> left;
        {
            guard signals{on<SIGHUP, SIGUSR1>(call([&] {
                entered.fetch_add(1);
                for (int i = 0; i < 20'000; ++i) ::sched_yield();
                left.fetch_add(1);
            }))};
            ::raise(SIGHUP);
            until([&] { return entered.load() == 1; });
            ::raise(SIGUSR1);
        }
        require_in_child(left.load() == entered.load());
        int const ran = entered.load();
        in_signal::atomic<int> other;
        guard signals{on<SIGWINCH>(call([&] { other.store(1); }))};
        ::raise(SIGWINCH);
        until([&] { return other.load() == 1; });
        require_in_child(entered.load() == ran);
    });
}

TEST_CASE("what a call's function holds is gone when the guard's destructor returns", "[call]") {
    in_child([] {
        for (int round = 0; round < 2000; ++round) {
            auto held = std::make_shared<in_signal::atomic<int>>();
            {
                guard signals{on<SIGHUP>(call([held] { held->store(1); }))};
                ::raise(SIGHUP);
                until([&] { return held->load() == 1; });
            }
            require_in_child(held.use_count() == 1);
        }
    });
}

TEST_CASE("a call may destroy its own guard, whose function lives until it returns", "[call]") {
    in_child([] {
        struct alive {
            in_signal::atomic<int>* gone;
            int canary = 4711;
            explicit alive(in_signal::atomic<int>* to) : gone{to} {}
            ~alive() {
                canary = 0;
                gone->store(1);
            }
        };
        in_signal::atomic<int> gone;
        in_signal::atomic<int> seen;
        static void (*destroy)();
        static in_signal::atomic<int> is_there;
        auto held = std::make_shared<alive>(&gone);
        auto row = on<SIGHUP>(call([held, &seen, &gone] {
            until([] { return is_there.load() != 0; });
            destroy();
            seen.store(gone.load() == 0 && held->canary == 4711 ? 2 : 1);
        }), call([&seen] { seen.fetch_add(10); }));
        held.reset();
        using guard_type = guard<decltype(row)>;
        static guard_type* signals;
        destroy = [] {
            delete signals;
            signals = nullptr;
        };
        signals = new guard_type{std::move(row)};
        is_there.store(1);
        ::raise(SIGHUP);
        until([&] { return gone.load() == 1; });
        require_in_child(seen.load() == 2);  // the row's second call did not start
        require_in_child(action_of(SIGHUP).sa_handler == SIG_DFL);
    });
}

TEST_CASE("a call may build and destroy other guards", "[call]") {
    in_child([] {
        in_signal::atomic<int> done;
        guard signals{on<SIGHUP>(call([&] {
            in_signal::atomic<int> stopped;
            {
                guard inner{on<SIGTERM>(request_stop), on<SIGUSR1>(call([] {}))};
                ::kill(::getpid(), SIGTERM);
                until([&] { return inner.stop_requested(); });
                stopped.store(1);
            }
            done.store(stopped.load());
        }))};
        ::raise(SIGHUP);
        until([&] { return done.load() != 0; });
    });
}

TEST_CASE("the dispatcher starts only when a row needs it, and is shared", "[call]") {
    in_child([] {
        require_in_child(threads() == 1);
        guard first{on<SIGHUP>(call([] {}))};
        require_in_child(threads() == 2);
        guard second{on<SIGUSR1>(call([] {})), on<SIGTERM>(request_stop)};
        require_in_child(threads() == 2);
    });
}

TEST_CASE("the dispatcher takes no signal of the program, and does not spin", "[call]") {
    in_child([] {
        in_signal::atomic<int> thread;
        guard signals{on<SIGHUP>(call([&] { thread.store(::gettid()); }))};
        ::raise(SIGHUP);
        until([&] { return thread.load() != 0; });
        std::string const task = "/proc/self/task/" + std::to_string(thread.load());
        until([&] {
            std::FILE* const file = std::fopen((task + "/syscall").c_str(), "r");
            int number = -1;
            int const got = std::fscanf(file, "%d", &number);
            std::fclose(file);
            return got == 1 && number == SYS_futex;
        });
        std::FILE* const file = std::fopen((task + "/status").c_str(), "r");
        char line[256];
        unsigned long long blocked = 0;
        while (std::fgets(line, sizeof line, file) != nullptr)
            if (std::string{line}.rfind("SigBlk:", 0) == 0) blocked = std::strtoull(line + 7, nullptr, 16);
        std::fclose(file);
        for (int const number : {SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGCHLD, SIGALRM})
            require_in_child(has_signal(blocked, number));
        for (int const number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT})
            require_in_child(!has_signal(blocked, number));
    });
}

TEST_CASE("once exit has begun, no call starts any more", "[call]") {
    auto process = child::run([] {
        // Registered before the library's own note of the exit, and so run after it. The guards live on, for nothing
        // of this child is of static storage; two stops are two rounds of the dispatcher.
        static void (*at_end)();
        std::atexit([] {
            at_end();
            ::_exit(0);
        });
        static in_signal::atomic<int> called;
        guard signals{on<SIGHUP>(call([] { called.fetch_add(1); }))};
        guard first{on<SIGTERM>(request_stop)};
        guard second{on<SIGINT>(request_stop)};
        static std::stop_token first_token;
        static std::stop_token second_token;
        first_token = first.stop_token();
        second_token = second.stop_token();
        at_end = [] {
            ::raise(SIGHUP);
            ::raise(SIGTERM);
            until([] { return first_token.stop_requested(); });
            ::raise(SIGINT);
            until([] { return second_token.stop_requested(); });
            require_in_child(called.load() == 0);
            say("at the end");
        };
        ::raise(SIGHUP);
        until([] { return called.exchange(0) == 1; });
        std::exit(1);
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.exited(0));
    CHECK(result.out == "at the end\n");
}
