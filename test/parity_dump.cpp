// SPDX-License-Identifier: MIT
// What CPython's faulthandler does, row by row. One short test each; the files of the headers have the rest. F19, a
// second registration that keeps the flags of the first, cannot be written down: words are part of the row's type.
#include "support/signals.hpp"

#include <tocsin/chain.hpp>
#include <tocsin/dump.hpp>
#include <tocsin/dump_later.hpp>
#include <tocsin/environment.hpp>
#include <tocsin/forms.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/query.hpp>
#include <tocsin/testing.hpp>
#include <tocsin/thread_guard.hpp>
#include <tocsin/watchdog.hpp>

#include <fcntl.h>
#include <sys/resource.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/report_text.hpp"

using namespace tocsin;
using namespace tocsin::test;
using namespace std::chrono_literals;
using testing::fault;

namespace {

// A child that does this and then reads through null.
template <class F>
outcome crash_after(F f) {
    auto victim = child::run([&] {
        auto const kept = f();
        testing::raise_fault(fault::read_null);
        static_cast<void>(kept);
    });
    return victim.wait();
}
outcome crash_plainly() {
    auto const row = [] { return on_crash(dump_threads); };
    return crash_after([&] { return std::make_unique<decltype(guard{row()})>(row()); });
}

bool says(std::string const& report, char const* text) { return report.find(text) != std::string::npos; }
bool complete(outcome const& end, int signal) {
    return end.killed_by(signal) && says(end.err, "tocsin: end of report");
}

// The whole report of this process, by its own thread.
std::string own_report() {
    int both[2];
    require_in_child(::pipe(both) == 0);
    guard signals{on<SIGUSR1>(dump_threads.to(both[1]))};
    ::raise(SIGUSR1);
    std::string text;
    char buffer[4096];
    while (text.find("tocsin: end of report") == std::string::npos || text.back() != '\n') {
        ssize_t const got = ::read(both[0], buffer, sizeof buffer);
        if (got > 0) text.append(buffer, static_cast<std::size_t>(got));
    }
    return text;
}

[[gnu::noinline]] void descend(int levels, void (*then)()) {
    if (levels == 0) return then();
    descend(levels - 1, then);
    __asm__ volatile("");
}

void read_null_at_exit() { testing::raise_fault(fault::read_null); }

}  // namespace

TEST_CASE("F1 crash rows look at their target first, and a refused guard leaves everything as it was",
          "[parity_dump]") {
    in_child([] {
        int refused = 0;
        try {
            guard signals{on<SIGUSR1>(dump_threads), on_crash(dump_threads.to(987))};
        } catch (error const& what) {
            refused = what.code();
        }
        require_in_child(refused == EBADF);
        for (int const each : crash_signals) require_in_child(query(each).owner() == disposition_owner::by_default);
        guard signals{on_crash(dump_threads)};
        for (int const each : crash_signals) {
            live_disposition const now = query(each);
            require_in_child(now.owner() == disposition_owner::ours && now.on_alternate_stack());
        }
    });
}

TEST_CASE("F2 a guard's end gives back what it found, and no handler that came later is thrown away", "[parity_dump]") {
    in_child([] {
        struct sigaction const theirs = make_action([](int) { ::_exit(1); });
        {
            guard signals{on_crash(dump_threads)};
            require_in_child(static_cast<bool>(signals));
            ::sigaction(SIGBUS, &theirs, nullptr);
            require_in_child(signals.check_ownership() == signal_set{SIGBUS});
        }
        require_in_child(query<SIGSEGV>().owner() == disposition_owner::by_default);
        require_in_child(action_of(SIGBUS).sa_handler == theirs.sa_handler);
    });
}

TEST_CASE("F3 the report comes first, then the death that there would have been", "[parity_dump]") {
    for (fault const each : {fault::read_null, fault::write_null}) {
        auto victim = child::run([each] {
            guard signals{on_crash(dump_threads)};
            testing::raise_fault(each);
        });
        auto const& end = victim.wait();
        INFO(end.describe());
        CHECK(complete(end, testing::expected_signal(each)));
    }
}

TEST_CASE("F4 a previous handler sees the fault's own code and address", "[parity_dump]") {
    auto victim = child::run([] {
        struct sigaction const theirs = make_action([](int, siginfo_t* info, void*) {
            ::_exit(info->si_code == SEGV_MAPERR && info->si_addr == nullptr ? 42 : 43);
        });
        ::sigaction(SIGSEGV, &theirs, nullptr);
        guard signals{on_crash(dump_threads)};
        testing::raise_fault(fault::read_null);
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.exited(42));
    CHECK(says(end.err, "end of report"));
}

TEST_CASE("F5 a report goes to a descriptor, or to a new file", "[parity_dump]") {
    scratch_directory folder;
    std::string const path = folder.file("crash-{pid}.txt");
    auto const end = crash_after([&] {
        auto const row = [&] { return on_crash(dump_threads.to_file(path.c_str())); };
        return std::make_unique<decltype(guard{row()})>(row());
    });
    INFO(end.describe());
    auto const names = names_in(folder.path());
    REQUIRE(names.size() == 1);
    CHECK(says(contents_of(folder.file(names[0])), "end of report"));
}

TEST_CASE("F6 a descriptor that is closed and reused gets no report", "[parity_dump]") {
    in_child([] {
        int both[2];
        int victim[2];
        require_in_child(::pipe(both) == 0 && ::pipe2(victim, O_NONBLOCK) == 0);
        guard signals{on<SIGUSR1>(dump_threads.to(both[1]))};
        require_in_child(::dup2(victim[1], both[1]) == both[1]);
        ::raise(SIGUSR1);
        wait_readable(both[0]);
        char byte;
        require_in_child(::read(victim[0], &byte, 1) == -1 && errno == EAGAIN);
    });
}

TEST_CASE("F7 every thread is in the report, the one that crashed first", "[parity_dump]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads)};
        std::atomic<int> ready{0};
        constexpr int others = 120;
        for (int i = 0; i < others; ++i)
            std::thread{[&] {
                ready.fetch_add(1);
                for (;;) ::pause();
            }}.detach();
        until([&] { return ready.load() == others; });
        std::thread{[] {
            thread_guard here{"it was me"};
            testing::raise_fault(fault::read_null);
        }}.join();
    });
    auto const& end = victim.wait();
    INFO(end.err.substr(0, 2000));
    CHECK(complete(end, SIGSEGV));
    CHECK(says(end.err, "end of report, 122 threads"));
    auto const threads = threads_of(end.err);
    REQUIRE_FALSE(threads.empty());
    CHECK(threads[0].head.find("it was me") != std::string::npos);
}

TEST_CASE("F8 frames that are not shown are counted, and both ends of the stack are", "[parity_dump]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads)};
        descend(250, [] { testing::raise_fault(fault::read_null); });
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(complete(end, SIGSEGV));
    CHECK(says(end.err, " more frames"));
    CHECK(says(end.err, "read_null"));
    CHECK(says(end.err, "main+0x"));
}

TEST_CASE("F9 no text can forge a line or move a cursor", "[parity_dump]") {
    in_child([] {
        thread_guard here{"\x1b[2J\nthread 1"};
        std::string const report = own_report();
        require_in_child(says(report, "\\x1b[2J\\x0athread 1") && report.find('\x1b') == std::string::npos);
    });
}

TEST_CASE("F10 threads have their names, long ones too, and both of their numbers can be told", "[parity_dump]") {
    in_child([] {
        thread_guard here{"a name of more than fifteen characters"};
        std::string const report = own_report();
        require_in_child(says(report, "\"a name of more than fifteen characters\""));
        require_in_child(says(report, ("thread " + std::to_string(::gettid())).c_str()));
    });
}

TEST_CASE("F11 the objects that are loaded are in a crash report", "[parity_dump]") {
    auto const end = crash_plainly();
    INFO(end.describe());
    CHECK(says(end.err, "libc.so"));
}

TEST_CASE("F12 the native stack begins at the instruction that faulted", "[parity_dump]") {
    auto const end = crash_plainly();
    INFO(end.describe());
    auto const threads = threads_of(end.err);
    REQUIRE_FALSE(threads.empty());
    REQUIRE_FALSE(threads[0].frames.empty());
    CHECK(threads[0].frames[0].find("faults::read_null") != std::string::npos);
}

TEST_CASE("F13 a report now, on any thread", "[parity_dump]") {
    in_child([] {
        int both[2];
        require_in_child(::pipe(both) == 0);
        require_in_child(dump(both[1]) == 0 && readable(both[0]));
        require_in_child(dump(987) == EBADF);
    });
}

TEST_CASE("F14 a watchdog reports when nobody feeds it, with the time in the title", "[parity_dump]") {
    in_child([] {
        int both[2];
        require_in_child(::pipe(both) == 0);
        dump_later(1500us, dump_threads.to(both[1]));
        wait_readable(both[0]);
        char title[128]{};
        require_in_child(::read(both[0], title, sizeof title - 1) > 0 && says(title, "0:00:00.001500"));
    });
    in_child([] {
        int both[2];
        require_in_child(::pipe(both) == 0);
        guard signals{watchdog<"first">(20ms)(dump_threads.to(both[1])), watchdog<"second">(1h)(dump_threads)};
        signals.feed<"second">();
        wait_readable(both[0]);
    });
}

TEST_CASE("F15 taking a watchdog back is harmless, and is bounded", "[parity_dump]") {
    in_child([] {
        cancel_dump_later();
        dump_later(1h);
        cancel_dump_later();
        cancel_dump_later();
    });
}

TEST_CASE("F16 a forked child has no watchdog, can take it back, and ends", "[parity_dump]") {
    in_child([] {
        dump_later(1h);
        require_fork([] { cancel_dump_later(); });
        pid_t const made = ::fork();
        if (made == 0) std::exit(0);
        int status = -1;
        require_in_child(::waitpid(made, &status, 0) == made && status == 0);
    });
}

TEST_CASE("F17 a report on a signal, and interrupted calls go on", "[parity_dump]") {
    in_child([] {
        require_in_child(says(own_report(), "SIGUSR1 sent by process"));
        guard signals{on<SIGUSR1>(dump_threads)};
        require_in_child(query<SIGUSR1>().restarts());
    });
}

TEST_CASE("F18 with chain the previous handler is called, and interrupted calls still go on", "[parity_dump]") {
    in_child([] {
        static std::atomic<int> calls{0};
        struct sigaction const theirs = make_action([](int) { calls.fetch_add(1); });
        ::sigaction(SIGUSR1, &theirs, nullptr);
        guard signals{on<SIGUSR1>(dump_threads, chain)};
        require_in_child(query<SIGUSR1>().restarts());
        std::vector<std::thread> senders;
        for (int i = 0; i < 4; ++i)
            senders.emplace_back([] {
                for (int k = 0; k < 25; ++k) ::raise(SIGUSR1);
            });
        for (auto& each : senders) each.join();
        require_in_child(calls.load() == 100);
    });
}

TEST_CASE("F20 guards end in any order, each once", "[parity_dump]") {
    in_child([] {
        auto const row = [] { return on<SIGUSR1>(dump_threads); };
        auto older = std::make_unique<decltype(guard{row()})>(row());
        auto newer = std::make_unique<decltype(guard{row()})>(row());
        older.reset();
        require_in_child(query<SIGUSR1>().owner() == disposition_owner::ours);
        newer.reset();
        require_in_child(query<SIGUSR1>().owner() == disposition_owner::by_default);
    });
}

TEST_CASE("F21 the interrupted code keeps its errno", "[parity_dump]") {
    in_child([] {
        int const nowhere = ::open("/dev/null", O_WRONLY);
        guard signals{on<SIGUSR1>(dump_threads.to(nowhere)), on<SIGUSR2>(dump_threads.to(nowhere), chain)};
        struct sigaction const theirs = make_action([](int) { errno = 7; });
        ::sigaction(SIGUSR2, &theirs, nullptr);
        signals.reinstall();
        for (int const each : {SIGUSR1, SIGUSR2}) {
            errno = 42;
            ::raise(each);
            require_in_child(errno == 42);
        }
        require_in_child(dump(nowhere) == 0 && errno == 42);
    });
}

TEST_CASE("F22 a crash into a broken or a full pipe dies of its own signal", "[parity_dump]") {
    bool const broken = GENERATE(true, false);
    auto const end = crash_after([broken] {
        int both[2];
        require_in_child(::pipe(both) == 0);
        if (broken) ::close(both[0]);
        ::fcntl(both[1], F_SETFL, O_NONBLOCK);
        char const block[4096]{};
        while (!broken && ::write(both[1], block, sizeof block) > 0) {
        }
        ::fcntl(both[1], F_SETFL, 0);
        auto const row = [&] { return on_crash(dump_threads.to(both[1])); };
        return std::make_unique<decltype(guard{row()})>(row());
    });
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
}

TEST_CASE("F23 a thread has an alternate stack of its own, so that its overflow is reported", "[parity_dump]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads)};
        std::thread{[] {
            thread_guard here{"deep"};
            testing::raise_fault(fault::stack_overflow);
        }}.join();
    });
    auto const& end = victim.wait();
    INFO(end.describe().substr(0, 3000));
    CHECK(complete(end, SIGSEGV));
    CHECK(says(end.err, "\"deep\""));
}

TEST_CASE("F24 a stack overflow is called one", "[parity_dump]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads)};
        testing::raise_fault(fault::stack_overflow);
    });
    auto const& end = victim.wait();
    INFO(end.describe().substr(0, 3000));
    CHECK(complete(end, SIGSEGV));
    CHECK(says(end.err, "overflow"));
}

TEST_CASE("F25 a variable of the environment turns reports on", "[parity_dump]") {
    auto victim = child::run([] {
        ::setenv("TOCSIN", "crash,format=faulthandler", 1);
        require_in_child(static_cast<bool>(from_environment()));
        testing::raise_fault(fault::read_null);
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(says(end.err, "Fatal error: Segmentation fault"));
    in_child([] {
        ::setenv("TOCSIN", "", 1);
        require_in_child(!from_environment() && query<SIGSEGV>().owner() == disposition_owner::by_default);
    });
}

TEST_CASE("F26 faults for tests, and no cores of them", "[parity_dump]") {
    in_child([] {
        rlimit before{};
        ::getrlimit(RLIMIT_CORE, &before);
        {
            testing::no_core here;
            rlimit now{};
            ::getrlimit(RLIMIT_CORE, &now);
            require_in_child(now.rlim_cur <= 1 && now.rlim_max == before.rlim_max);
        }
    });
    CHECK(testing::expected_signal(fault::read_null) == SIGSEGV);
}

TEST_CASE("F27 the wait status is that of the crash, for whoever collects cores", "[parity_dump]") {
    auto plain = child::run([] { testing::raise_fault(fault::read_null); });
    auto const end = crash_plainly();
    CHECK(plain.wait().signal == end.signal);
}

TEST_CASE("F28 threads that crash at once are one report, with each of them in it", "[parity_dump]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads)};
        std::atomic<int> ready{0};
        for (int i = 0; i < 8; ++i)
            std::thread{[&] {
                ready.fetch_add(1);
                until([&] { return ready.load() == 8; });
                testing::raise_fault(fault::read_null);
            }}.detach();
        for (;;) ::pause();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(complete(end, SIGSEGV));
    CHECK(count_of(end.err, "tocsin: SIGSEGV") == 1);
    CHECK(says(end.err, "end of report, 9 threads"));
}

TEST_CASE("F29 a crash after main has returned is reported", "[parity_dump]") {
    auto victim = child::run([] {
        static guard signals{on_crash(dump_threads)};
        ::atexit(&read_null_at_exit);
        std::exit(0);
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(complete(end, SIGSEGV));
    CHECK(says(end.err, "read_null_at_exit"));
}

TEST_CASE("F30 a fault signal that was sent is reported as sent", "[parity_dump]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads)};
        ::kill(::getpid(), SIGSEGV);
        ::pause();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(complete(end, SIGSEGV));
    CHECK(says(end.err, "SIGSEGV sent by process"));
}
