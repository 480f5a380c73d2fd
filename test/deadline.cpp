// SPDX-License-Identifier: MIT
#include <tocsin/deadline.hpp>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <tocsin/dump.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/trace.hpp>
#include <tocsin/wake.hpp>
#include <tocsin/watchdog.hpp>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/refuse_call.hpp"
#include "support/report_text.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using namespace std::chrono_literals;
using test::child;
using test::require_in_child;

namespace {

using steady = std::chrono::steady_clock;

// Reads a report from a pipe up to its last line; what there is, if that does not come.
class report_pipe {
  public:
    report_pipe() { require_in_child(::pipe(ends_) == 0); }
    ~report_pipe() {
        ::close(ends_[0]);
        ::close(ends_[1]);
    }
    report_pipe(report_pipe const&) = delete;
    report_pipe& operator=(report_pipe const&) = delete;

    int fd() const { return ends_[1]; }
    std::string next(std::chrono::milliseconds deadline = test::patience) {
        std::string report;
        auto const end = steady::now() + deadline;
        while (report.find("end of report") == std::string::npos || report.back() != '\n') {
            auto const left = std::chrono::duration_cast<std::chrono::milliseconds>(end - steady::now()).count();
            pollfd ready{ends_[0], POLLIN, 0};
            int const answer = ::poll(&ready, 1, left > 0 ? static_cast<int>(left) : 0);
            if (answer < 0 && errno == EINTR) continue;  // by the report: this thread was running
            if (answer != 1) break;
            char byte;  // no more than one report
            if (::read(ends_[0], &byte, 1) != 1) break;
            report += byte;
        }
        return report;
    }

  private:
    int ends_[2] = {-1, -1};
};

void fill(int pipe_end) {
    ::fcntl(pipe_end, F_SETFL, O_NONBLOCK);
    char const block[4096] = {};
    while (::write(pipe_end, block, sizeof block) > 0) {
    }
    ::fcntl(pipe_end, F_SETFL, 0);
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

[[gnu::noinline]] void wait_in_the_scope(report_pipe& reports, std::string& report) {
    report = reports.next();
    asm volatile("");
}

}  // namespace

TEST_CASE("a scope that is left in time is not spoken of", "[deadline]") {
    auto one = child::run([] {
        for (int i = 0; i < 1000; ++i) {
            deadline here{1h};
            deadline inside{"inside", 2h};
        }
        ::poll(nullptr, 0, 30);
    });
    test::outcome const& result = one.wait();
    CHECK(result.exited(0));
    CHECK(result.err.empty());
}

TEST_CASE("a scope that is not left in time is reported: which, since when, its thread first", "[deadline]") {
    auto one = child::run([] {
        std::thread{[] {
            deadline here{"loading", 30ms};
            ::poll(nullptr, 0, 300);
        }}.join();
    });
    test::outcome const& result = one.wait();
    INFO(result.describe());
    REQUIRE(result.exited(0));
    CHECK(result.err.find("tocsin: deadline \"loading\" of 30 ms has passed, thread ") == 0);
    std::string const thread = result.err.substr(55, result.err.find(' ', 55) - 55);
    CHECK(contains(result.err, "thread " + thread + " entered it "));
    CHECK(contains(result.err, " ms ago, process " + std::to_string(one.pid()) + "\n"));
    auto const threads = test::threads_of(result.err);
    REQUIRE(threads.size() >= 2);
    CHECK(threads[0].head.find("thread " + thread + " ") == 0);
    CHECK(threads[0].names("poll"));
    CHECK(test::count_of(result.err, "end of report") == 1);
}

TEST_CASE("the report goes where its words say", "[deadline]") {
    expect_success(child::run([] {
        report_pipe reports;
        std::string report;
        {
            deadline here{20ms, dump_threads.to(reports.fd()).this_thread()};
            wait_in_the_scope(reports, report);
        }
        require_in_child(contains(report, "deadline 20 ms has passed"));
        require_in_child(contains(report, "end of report, 1 thread\n"));
        require_in_child(contains(report, "wait_in_the_scope"));
        test::scratch_directory folder;
        {
            std::string const path = folder.file("late-{pid}.txt");
            deadline here{"file", 10ms, dump_threads.to_file(path.c_str())};
            while (!contains(test::contents_of(folder.file("late-" + std::to_string(::getpid()) + ".txt")),
                             "end of report"))
                std::this_thread::yield();
        }
    }));
}

TEST_CASE("deadlines nest, and each is reported by itself", "[deadline]") {
    expect_success(child::run([] {
        report_pipe reports;
        auto const to = dump_threads.to(reports.fd()).this_thread();
        std::vector<std::unique_ptr<deadline>> outer;
        for (int i = 0; i < 20; ++i) outer.push_back(std::make_unique<deadline>("outer", 1h));
        std::string first;
        std::string second;
        {
            deadline here{"first", 60ms, to};
            deadline inside{"second", 20ms, to};
            deadline another{"third", 1h, to};
            second = reports.next();
            first = reports.next();
        }
        require_in_child(contains(second, "\"second\"") && contains(first, "\"first\""));
        require_in_child(reports.next(50ms).empty());
    }));
}

TEST_CASE("many threads each have their own deadlines", "[deadline]") {
    expect_success(child::run([] {
        report_pipe reports;
        auto const to = dump_threads.to(reports.fd()).this_thread();
        std::atomic<bool> done{false};
        std::vector<std::thread> threads;
        for (int i = 0; i < 8; ++i)
            threads.emplace_back([&] {
                while (!done) {
                    deadline here{"in time", 60s};
                    deadline inside{"in time", 1h};
                    std::this_thread::yield();
                }
            });
        {
            deadline here{"late", 30ms, to};
            std::string const report = reports.next();
            require_in_child(contains(report, "\"late\"") && contains(report, "of 30 ms"));
        }
        done = true;
        for (auto& each : threads) each.join();
        for (int i = 0; i < 50; ++i) std::thread{[] { deadline here{1h}; }}.join();  // boards are handed on
        require_in_child(reports.next(20ms).empty());
    }));
}

TEST_CASE("a shorter deadline is seen while the watcher sleeps for a longer one", "[deadline]") {
    expect_success(child::run([] {
        report_pipe reports;
        auto const to = dump_threads.to(reports.fd()).this_thread();
        deadline outer{1h};
        ::poll(nullptr, 0, 20);  // the watcher sleeps
        auto const begin = steady::now();
        {
            deadline here{"short", 20ms, to};
            require_in_child(contains(reports.next(5s), "short"));
        }
        require_in_child(steady::now() - begin >= 20ms);
    }));
}

TEST_CASE("where the kernel refuses fences in other threads, a shorter deadline is seen all the same", "[deadline]") {
    expect_success(child::run([] {
        test::refuse_call(SYS_membarrier, EPERM);
        report_pipe reports;
        auto const to = dump_threads.to(reports.fd()).this_thread();
        deadline outer{1h};
        for (int i = 0; i < 3; ++i) {
            ::poll(nullptr, 0, 20);  // the watcher sleeps
            deadline here{"short", 20ms, to};
            require_in_child(contains(reports.next(5s), "short"));
        }
    }));
}

TEST_CASE("armed and left over and over, a deadline costs the wake-ups of one a period", "[deadline]") {
    expect_success(child::run([] {
        { deadline here{50ms}; }
        rusage before{};
        rusage after{};
        ::getrusage(RUSAGE_SELF, &before);
        auto const end = steady::now() + 500ms;
        while (steady::now() < end) deadline here{50ms};
        ::getrusage(RUSAGE_SELF, &after);
        require_in_child(after.ru_nvcsw - before.ru_nvcsw < 80);
    }));
}

TEST_CASE("scopes that come and go do not each wake the watcher", "[deadline]") {
    expect_success(child::run([] {
        { deadline here{50ms}; }
        rusage before{};
        rusage after{};
        ::getrusage(RUSAGE_SELF, &before);
        auto const end = steady::now() + 500ms;
        while (steady::now() < end) {
            { deadline here{50ms}; }
            for (int i = 0; i < 2000; ++i) asm volatile("");
        }
        ::getrusage(RUSAGE_SELF, &after);
        require_in_child(after.ru_nvcsw - before.ru_nvcsw < 80);
    }));
}

TEST_CASE("zero, negative deadlines and NaN are an error, the longest is none", "[deadline]") {
    expect_success(child::run([] {
        auto const refused = [](auto period) {
            try {
                deadline here{period};
            } catch (error const& what) {
                return what.code() == EINVAL && std::string_view{what.call()} == "deadline(time not above zero)";
            }
            return false;
        };
        require_in_child(refused(0s) && refused(-1ms));
        require_in_child(refused(std::chrono::duration<double>{std::numeric_limits<double>::quiet_NaN()}));
        deadline here{std::chrono::hours::max()};
        deadline there{"long", std::chrono::nanoseconds::max()};
        ::poll(nullptr, 0, 20);
    }));
}

TEST_CASE("the end of a late scope waits for its report, but not for ever", "[deadline]") {
    expect_success(child::run([] {
        int full[2];
        require_in_child(::pipe(full) == 0);
        fill(full[1]);
        auto const begin = steady::now();
        {
            deadline here{10ms, dump_threads.to(full[1])};
            ::poll(nullptr, 0, 100);
        }
        auto const took = steady::now() - begin;
        require_in_child(took >= 1s && took < 2900ms);  // writing alone gives up after 3 s
    }));
}

TEST_CASE("a forked child is not watched for its parent's scopes, and for its own it is", "[deadline]") {
    expect_success(child::run([] {
        report_pipe reports;
        auto const to = dump_threads.to(reports.fd()).this_thread();
        auto parents = std::make_unique<deadline>("parent", 50ms, to);
        auto unwatched = std::make_unique<deadline>(1h);
        pid_t const forked = ::fork();
        if (forked == 0) {
            report_pipe own;
            {
                deadline here{"child", 80ms, dump_threads.to(own.fd())};
                require_in_child(contains(own.next(), "\"child\" of 80 ms"));
            }
            parents.reset();
            ::exit(0);
        }
        int status = 0;
        require_in_child(::waitpid(forked, &status, 0) == forked && status == 0);
        require_in_child(contains(reports.next(), "\"parent\""));
        require_in_child(reports.next(20ms).empty());
    }));
}

TEST_CASE("a child whose parent has left its scopes is watched for its own", "[deadline]") {
    expect_success(child::run([] {
        { deadline here{1h}; }
        pid_t const forked = ::fork();
        if (forked == 0) {
            report_pipe own;
            deadline here{"child", 30ms, dump_threads.to(own.fd())};
            require_in_child(contains(own.next(), "\"child\" of 30 ms"));
            ::_exit(0);
        }
        int status = 0;
        require_in_child(::waitpid(forked, &status, 0) == forked && status == 0);
    }));
}

TEST_CASE("a scope inside of a late one does not wait for the report about that", "[deadline]") {
    expect_success(child::run([] {
        int full[2];
        require_in_child(::pipe(full) == 0);
        fill(full[1]);
        deadline outer{10ms, dump_threads.to(full[1])};
        ::poll(nullptr, 0, 100);
        auto const begin = steady::now();
        for (int i = 0; i < 3; ++i) {
            deadline inner{1h};
            deadline innermost{1h};
        }
        require_in_child(steady::now() - begin < 800ms);
    }));
}

TEST_CASE("a child that is forked while its parent's scope is being reported does not wait for that", "[deadline]") {
    expect_success(child::run([] {
        int full[2];
        require_in_child(::pipe(full) == 0);
        fill(full[1]);
        auto late = std::make_unique<deadline>(10ms, dump_threads.to(full[1]));
        ::poll(nullptr, 0, 100);
        pid_t const forked = ::fork();
        if (forked == 0) {
            auto const begin = steady::now();
            late.reset();
            { deadline here{1h}; }
            ::_exit(steady::now() - begin < 800ms ? 0 : 1);
        }
        int status = 0;
        require_in_child(::waitpid(forked, &status, 0) == forked && status == 0);
    }));
}

TEST_CASE("a process that was stopped in a scope is not late", "[deadline]") {
    auto one = child::run([] {
        deadline here{3s};
        test::say("ready");
        test::wait_for_parent();
    });
    REQUIRE(one.expect_line("ready"));
    test::stop_for(one, 3500ms);
    ::poll(nullptr, 0, 60);
    one.close_input();
    test::outcome const& result = one.wait();
    INFO(result.describe());
    CHECK(result.exited(0));
    CHECK(result.err.empty());
}

TEST_CASE("a process that is traced is not late", "[deadline]") {
    auto one = child::run([] {
        std::string line;
        test::hear(line);
        deadline here{50ms};
        ::poll(nullptr, 0, 200);
    });
    bool const seized = ::ptrace(PTRACE_SEIZE, one.pid(), nullptr, nullptr) == 0;
    one.tell("go");
    test::outcome const& result = one.wait();
    CHECK(result.exited(0));
    CHECK(result.err.empty() == seized);
}

TEST_CASE("deadlines and watchdogs share one watcher", "[deadline]") {
    expect_success(child::run([] {
        report_pipe reports;
        guard signals{watchdog(20ms)(wake)};
        deadline here{"late", 40ms, dump_threads.to(reports.fd())};
        std::string const report = reports.next();
        require_in_child(contains(report, "\"late\""));
        require_in_child(test::count_of(report, "\"tocsin-watch\"") == 1);
        pollfd ready{signals.fd(), POLLIN, 0};
        require_in_child(::poll(&ready, 1, 0) == 1);
    }));
}

TEST_CASE("the report of a deadline says in which breadcrumb the thread is", "[deadline]") {
    expect_success(child::run([] {
        int const report = ::memfd_create("report", MFD_CLOEXEC);
        {
            deadline here{"loading", 50ms, dump_threads.to(report)};
            trace step{"reading", "settings.conf"};
            while (test::contents_of("/proc/self/fd/" + std::to_string(report)).find("end of report") ==
                   std::string::npos)
                ::sched_yield();
        }
        std::string const text = test::contents_of("/proc/self/fd/" + std::to_string(report));
        require_in_child(text.find("tocsin: deadline \"loading\" of 50 ms") == 0);
        require_in_child(text.find("\n  trace: reading \"settings.conf\", operator() at ") != std::string::npos);
    }));
}
