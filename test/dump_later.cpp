// SPDX-License-Identifier: MIT
#include <tocsin/dump_later.hpp>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <limits>
#include <string>
#include <string_view>
#include <thread>

#include <tocsin/dump.hpp>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/report_text.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using namespace std::chrono_literals;
using test::child;
using test::require_in_child;

namespace {

using steady = std::chrono::steady_clock;

bool readable(int fd, std::chrono::milliseconds deadline = test::patience) {
    pollfd ready{fd, POLLIN, 0};
    int answer;  // a report may interrupt it: this thread was running when it was its turn
    while ((answer = ::poll(&ready, 1, static_cast<int>(deadline.count()))) < 0 && errno == EINTR) {
    }
    return answer == 1;
}

std::string title_of(std::uint64_t microseconds) {
    in_signal::fixed_line<64> line;
    posix::append_timeout(line, microseconds);
    return {line.data(), line.size()};
}

// Reads up to a report's last line.
std::string next_report(int fd) {
    std::string report;
    for (char byte; report.find("end of report") == std::string::npos || report.back() != '\n';) {
        if (!readable(fd) || ::read(fd, &byte, 1) != 1) break;
        report += byte;
    }
    return report;
}

struct ends {
    int reader;
    int writer;
};
ends make_pipe() {
    int made[2];
    require_in_child(::pipe(made) == 0);
    return {made[0], made[1]};
}
void fill(int fd) {
    ::fcntl(fd, F_SETFL, O_NONBLOCK);
    char const block[4096] = {};
    while (::write(fd, block, sizeof block) > 0) {
    }
    ::fcntl(fd, F_SETFL, 0);
}

}  // namespace

TEST_CASE("the title has the time as hours, minutes and seconds, and microseconds if there are any", "[dump_later]") {
    CHECK(title_of(5'000'000) == "Timeout (0:00:05)!");
    CHECK(title_of(500'000) == "Timeout (0:00:00.500000)!");
    CHECK(title_of(1) == "Timeout (0:00:00.000001)!");
    CHECK(title_of(45'296'000'050) == "Timeout (12:34:56.000050)!");
    CHECK(title_of(360'000'000'000) == "Timeout (100:00:00)!");
}

TEST_CASE("when the time is up all threads are reported, once, and none is called the current one", "[dump_later]") {
    auto one = child::run([] {
        dump_later(50ms);
        std::thread{[] { ::poll(nullptr, 0, 250); }}.join();
    });
    test::outcome const& result = one.wait();
    INFO(result.describe());
    CHECK(result.exited(0));
    CHECK(result.err.find("Timeout (0:00:00.050000)!\nthread " + std::to_string(one.pid()) + " ") == 0);
    CHECK(test::count_of(result.err, "Timeout") == 1);
    CHECK(test::count_of(result.err, "end of report, 4 threads") == 1);
    CHECK(result.err.find("where it happened") == std::string::npos);
}

TEST_CASE("taken back, nothing is reported; taking back what was never asked for is harmless", "[dump_later]") {
    auto one = child::run([] {
        cancel_dump_later();
        dump_later(30ms);
        cancel_dump_later();
        cancel_dump_later();
        ::poll(nullptr, 0, 80);
    });
    test::outcome const& result = one.wait();
    CHECK(result.exited(0));
    CHECK(result.err.empty());
}

TEST_CASE("a second call replaces the first, with its descriptor", "[dump_later]") {
    expect_success(child::run([] {
        ends const first = make_pipe();
        ends const second = make_pipe();
        dump_later(20ms, dump_threads.to(first.writer));
        dump_later(60ms, dump_threads.to(second.writer).this_thread());
        ::close(second.writer);  // it has a duplicate
        require_in_child(next_report(second.reader).find("Timeout (0:00:00.060000)!\n") == 0);
        require_in_child(!readable(first.reader, 0ms));
        cancel_dump_later();
        char byte;
        require_in_child(::read(second.reader, &byte, 1) == 0);  // and has closed it
    }));
}

TEST_CASE("repeated, it is reported again and again until it is taken back", "[dump_later]") {
    expect_success(child::run([] {
        ends const reports = make_pipe();
        dump_later(20ms, repeated, dump_threads.to(reports.writer).this_thread());
        for (int i = 0; i < 3; ++i) require_in_child(next_report(reports.reader).find("Timeout (0:00:00.02") == 0);
        cancel_dump_later();
        while (readable(reports.reader, 0ms)) next_report(reports.reader);
        require_in_child(!readable(reports.reader, 60ms));
    }));
}

TEST_CASE("exiting, the process ends with 1 once the report is complete", "[dump_later]") {
    auto one = child::run([] {
        dump_later(30ms, exiting);
        for (;;) ::pause();
    });
    test::outcome const& result = one.wait();
    INFO(result.describe());
    CHECK(result.exited(1));
    CHECK(result.err.find("Timeout (0:00:00.030000)!\n") == 0);
    CHECK(result.err.find("tocsin: end of report, 3 threads\n") != std::string::npos);
}

TEST_CASE("times that are none are errors that say why", "[dump_later]") {
    expect_success(child::run([] {
        auto const refused = [](auto time, std::string_view why) {
            try {
                dump_later(time);
            } catch (error const& what) {
                return what.code() == EINVAL && what.call() == why;
            }
            return false;
        };
        require_in_child(refused(0s, "dump_later: no time"));
        require_in_child(refused(-1us, "dump_later: a negative time"));
        require_in_child(refused(std::chrono::duration<double>{std::numeric_limits<double>::quiet_NaN()},
                                 "dump_later: not a number"));
        require_in_child(refused(std::chrono::hours::max(), "dump_later: too long a time"));
        int code = 0;
        try {
            dump_later(1h, dump_threads.to(1000));
        } catch (error const& what) {
            code = what.code();
        }
        require_in_child(code == EBADF);
        cancel_dump_later();
    }));
}

TEST_CASE("the shortest time is a microsecond", "[dump_later]") {
    auto one = child::run([] {
        dump_later(1ns, exiting, dump_threads.this_thread());
        for (;;) ::pause();
    });
    test::outcome const& result = one.wait();
    CHECK(result.exited(1));
    CHECK(result.err.find("Timeout (0:00:00.000001)!\n") == 0);
}

TEST_CASE("taking back is bounded while the report is stuck in a full pipe, and takes back the exit", "[dump_later]") {
    expect_success(child::run([] {
        ends const full = make_pipe();
        fill(full.writer);
        dump_later(10ms, exiting, dump_threads.to(full.writer));
        ::poll(nullptr, 0, 100);
        auto const begin = steady::now();
        cancel_dump_later();
        require_in_child(steady::now() - begin < 2500ms);
        ends const fresh = make_pipe();
        dump_later(10ms, dump_threads.to(fresh.writer).this_thread());  // behind the one that is stuck
        require_in_child(next_report(fresh.reader).find("Timeout (0:00:00.010000)!\n") == 0);
    }));
}

TEST_CASE("a forked child has nothing armed, can take it back, ask anew, and end", "[dump_later]") {
    auto one = child::run([] {
        dump_later(60ms, dump_threads.this_thread());
        pid_t const forked = ::fork();
        if (forked == 0) {
            ::poll(nullptr, 0, 100);
            ends const own = make_pipe();
            dump_later(10ms, dump_threads.to(own.writer));
            require_in_child(next_report(own.reader).find("Timeout (0:00:00.010000)!\n") == 0);
            cancel_dump_later();
            ::exit(0);
        }
        pid_t const another = ::fork();
        if (another == 0) {
            cancel_dump_later();
            ::exit(0);
        }
        for (pid_t const each : {forked, another}) {
            int status = 0;
            require_in_child(::waitpid(each, &status, 0) == each && status == 0);
        }
    });
    test::outcome const& result = one.wait();
    INFO(result.describe());
    CHECK(result.exited(0));
    CHECK(test::count_of(result.err, "Timeout") == 1);
}
