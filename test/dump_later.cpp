// SPDX-License-Identifier: MIT
#include <tocsin/dump_later.hpp>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <tocsin/dump.hpp>

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

// A regular file that nobody else has.
int make_file() {
    int const made = ::memfd_create("reports", MFD_CLOEXEC);
    require_in_child(made >= 0);
    return made;
}
std::string content_of(int file) {
    std::string text(1 << 22, '\0');
    long const size = ::pread(file, text.data(), text.size(), 0);
    text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
    return text;
}
bool gets_report(int file) {
    for (auto const end = steady::now() + test::patience; steady::now() < end; ::poll(nullptr, 0, 1))
        if (content_of(file).find("end of report") != std::string::npos) return true;
    return false;
}

std::vector<int> open_descriptors() {
    std::vector<int> all;
    DIR* const folder = ::opendir("/proc/self/fd");
    require_in_child(folder != nullptr);
    while (dirent const* const entry = ::readdir(folder)) {
        int const fd = std::atoi(entry->d_name);
        if (entry->d_name[0] != '.' && fd != ::dirfd(folder)) all.push_back(fd);
    }
    ::closedir(folder);
    std::sort(all.begin(), all.end());
    return all;
}
bool comes_to(std::vector<int> const& wanted) {
    for (auto const end = steady::now() + test::patience; steady::now() < end; ::poll(nullptr, 0, 1))
        if (open_descriptors() == wanted) return true;
    return false;
}

// Armed and taken back so often that its duplicate may be kept; then this is its number, else -1.
template <class... Words>
int arm_often(Words const&... words) {
    auto const before = open_descriptors();
    for (int i = 0; i < 4; ++i) {
        dump_later(1h, words...);
        cancel_dump_later();
    }
    for (int const fd : open_descriptors())
        if (!std::binary_search(before.begin(), before.end(), fd)) return fd;
    return -1;
}

constexpr long duplicate_query = 1027;  // F_DUPFD_QUERY

bool kernel_tells_the_same() {
    int const copy = ::dup(2);
    bool const told = ::fcntl(2, duplicate_query, copy) == 1 ||
                      ::syscall(SYS_kcmp, ::getpid(), ::getpid(), 0, 2, copy) == 0;
    ::close(copy);
    return told;
}
// As a kernel before 6.10 has it.
void take_query_away() {
    sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(offsetof(seccomp_data, nr))),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(SYS_fcntl), 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(offsetof(seccomp_data, args) + 8)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(duplicate_query), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog const program{sizeof rules / sizeof rules[0], rules};
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    require_in_child(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

int refusal_of(int fd) {
    try {
        dump_later(1h, dump_threads.to(fd));
    } catch (error const& what) {
        return what.code();
    }
    return 0;
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

TEST_CASE("armed again and again, it keeps its duplicate, and closes it soon after", "[dump_later]") {
    expect_success(child::run([] {
        if (!kernel_tells_the_same()) return;
        int const file = make_file();
        auto const before = open_descriptors();
        int const kept = arm_often(dump_threads.to(file));
        require_in_child(kept >= 0 && ::fcntl(kept, F_GETFD) == FD_CLOEXEC);
        for (int i = 0; i < 3; ++i) {
            dump_later(1h, dump_threads.to(file));
            cancel_dump_later();
            require_in_child(::fcntl(kept, F_GETFD) == FD_CLOEXEC);
        }
        require_in_child(comes_to(before));
        dump_later(10ms, dump_threads.to(file).this_thread());
        require_in_child(gets_report(file));
        cancel_dump_later();
        require_in_child(open_descriptors() == before);  // at once: it had not been armed for a while
    }));
}

TEST_CASE("armed seldom, it keeps nothing", "[dump_later]") {
    expect_success(child::run([] {
        int const file = make_file();
        int const other = make_file();
        auto const before = open_descriptors();
        for (int const each : {file, other, file, other}) {
            dump_later(1h, dump_threads.to(each));
            cancel_dump_later();
            require_in_child(open_descriptors() == before);
        }
    }));
}

TEST_CASE("the kept duplicate is used again without another", "[dump_later]") {
    bool const by_query = GENERATE(true, false);
    expect_success(child::run([by_query] {
        if (!by_query) take_query_away();
        if (!kernel_tells_the_same()) return;
        int const file = make_file();
        require_in_child(arm_often(dump_threads.to(file)) >= 0);
        test::refuse_call(SYS_fstat, EIO);  // a new one could not be kept
        dump_later(1h, dump_threads.to(file));
        dump_later(1h, dump_threads.to(file));
        cancel_dump_later();
        dump_later(1h, repeated, dump_threads.to(file).this_thread());
        cancel_dump_later();
        require_in_child(refusal_of(make_file()) == EIO);
    }));
}

TEST_CASE("where nobody tells whether it is the same file, it is taken anew", "[dump_later]") {
    expect_success(child::run([] {
        take_query_away();
        test::refuse_call(SYS_kcmp, EPERM);
        int const file = make_file();
        for (int i = 0; i < 4; ++i) arm_often(dump_threads.to(file));
        dump_later(10ms, dump_threads.to(file).this_thread());
        require_in_child(gets_report(file));
    }));
}

TEST_CASE("what is armed again with other words says what the last ones ask for", "[dump_later]") {
    auto one = child::run([] {
        int const file = make_file();
        require_in_child(::dup2(file, 2) == 2);
        arm_often();
        dump_later(1h, repeated, dump_threads.this_thread());
        dump_later(20ms);
        require_in_child(gets_report(file));
        std::string const report = content_of(file);
        require_in_child(report.find("Timeout (0:00:00.020000)!\n") == 0);
        require_in_child(report.find("end of report, 1 thread") == std::string::npos);
        arm_often();
        dump_later(10ms, exiting);
        for (;;) ::pause();
    });
    test::outcome const& result = one.wait();
    INFO(result.describe());
    CHECK(result.exited(1));
}

TEST_CASE("a descriptor that was closed or re-pointed since is seen when it is armed again", "[dump_later]") {
    expect_success(child::run([] {
        int const first = make_file();
        int const second = make_file();
        int const standard_error = ::fcntl(2, F_DUPFD_CLOEXEC, 10);
        require_in_child(::dup2(first, 2) == 2);
        arm_often();
        require_in_child(::dup2(second, 2) == 2);
        dump_later(10ms, dump_threads.this_thread());
        require_in_child(gets_report(second) && content_of(first).empty());
        arm_often();
        require_in_child(::close(2) == 0);
        require_in_child(refusal_of(2) == EBADF);
        require_in_child(::dup2(first, 2) == 2);
        dump_later(10ms, dump_threads.this_thread());
        require_in_child(gets_report(first));
        require_in_child(::dup2(standard_error, 2) == 2);
    }));
}

TEST_CASE("refused, it leaves armed what was", "[dump_later]") {
    expect_success(child::run([] {
        int const file = make_file();
        int const gone = ::dup(file);
        arm_often(dump_threads.to(file));
        dump_later(50ms, dump_threads.to(file).this_thread());
        ::close(gone);
        require_in_child(refusal_of(gone) == EBADF);
        require_in_child(gets_report(file));
    }));
}

TEST_CASE("armed again, it writes to the file that stood there then, and never to who has the number now",
          "[dump_later]") {
    expect_success(child::run([] {
        int const file = make_file();
        int const number = ::dup(file);
        arm_often(dump_threads.to(number));
        dump_later(50ms, dump_threads.to(number).this_thread());
        ::close(number);
        int const stranger = make_file();
        require_in_child(stranger == number);
        require_in_child(gets_report(file) && content_of(stranger).empty());
    }));
}

TEST_CASE("who closes the kept duplicate and has its number gets the report where it has been armed for",
          "[dump_later]") {
    expect_success(child::run([] {
        int const file = make_file();
        int const kept = arm_often(dump_threads.to(file));
        if (kept < 0) return;
        int const other = make_file();
        require_in_child(::dup2(other, kept) == kept);
        auto const before = open_descriptors();
        dump_later(10ms, dump_threads.to(file).this_thread());
        require_in_child(gets_report(file) && content_of(other).empty());
        cancel_dump_later();
        require_in_child(comes_to(before));
        int const again = arm_often(dump_threads.to(file));
        require_in_child(again >= 0 && again != kept);
        require_in_child(::dup2(other, file) == file && ::dup2(other, again) == again);
        dump_later(10ms, dump_threads.to(file).this_thread());
        require_in_child(gets_report(other));
        cancel_dump_later();
        require_in_child(::fcntl(again, F_GETFD) >= 0);  // not ours any more
    }));
}

TEST_CASE("of a pipe and of a socket nothing is kept: the reader sees the end at once", "[dump_later]") {
    expect_success(child::run([] {
        ends const reports = make_pipe();
        int pair[2];
        require_in_child(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
        auto const before = open_descriptors();
        for (int const writer : {reports.writer, pair[1]}) {
            require_in_child(arm_often(dump_threads.to(writer)) == -1);
            dump_later(1h, dump_threads.to(writer));
            dump_later(1h, dump_threads.to(writer));
            cancel_dump_later();
            require_in_child(open_descriptors() == before);
        }
        ::close(reports.writer);
        ::close(pair[1]);
        char byte;
        require_in_child(readable(reports.reader, 0ms) && ::read(reports.reader, &byte, 1) == 0);
        require_in_child(readable(pair[0], 0ms) && ::read(pair[0], &byte, 1) == 0);
    }));
}

TEST_CASE("a forked child has neither what is armed nor what is kept open", "[dump_later]") {
    bool const armed = GENERATE(true, false);
    expect_success(child::run([armed] {
        int const file = make_file();
        auto const before = open_descriptors();
        arm_often(dump_threads.to(file));
        if (armed) dump_later(1h, dump_threads.to(file));
        pid_t const forked = ::fork();
        if (forked == 0) {
            require_in_child(open_descriptors() == before);
            arm_often(dump_threads.to(file));
            dump_later(10ms, dump_threads.to(file).this_thread());
            require_in_child(gets_report(file));
            cancel_dump_later();
            ::_exit(0);
        }
        int status = 0;
        require_in_child(::waitpid(forked, &status, 0) == forked && status == 0);
        cancel_dump_later();
        require_in_child(comes_to(before));
    }));
}

TEST_CASE("armed and taken back by several threads at once, nothing stays", "[dump_later]") {
    expect_success(child::run([] {
        int const files[] = {make_file(), make_file()};
        auto const before = open_descriptors();
        std::vector<std::thread> all;
        for (unsigned i = 0; i < 4; ++i)
            all.emplace_back([&files, i] {
                for (unsigned turn = 0; turn < 2000; ++turn) {
                    dump_later(1h, dump_threads.to(files[turn / 100 % 2 * (i % 2)]));
                    if (turn % 3 != 0) cancel_dump_later();
                }
            });
        for (std::thread& each : all) each.join();
        cancel_dump_later();
        require_in_child(content_of(files[0]).empty() && content_of(files[1]).empty());
        require_in_child(comes_to(before));
    }));
}

TEST_CASE("armed while a report is stuck, it has its own words", "[dump_later]") {
    expect_success(child::run([] {
        ends const full = make_pipe();
        fill(full.writer);
        dump_later(10ms, dump_threads.to(full.writer).this_thread());
        ::poll(nullptr, 0, 100);
        dump_later(1h, exiting, dump_threads.to(full.writer));
        require_in_child(next_report(full.reader).find("Timeout (0:00:00.010000)!\n") != std::string::npos);
        ::poll(nullptr, 0, 100);  // the helper goes on, and does not end the process
        cancel_dump_later();
    }));
}

TEST_CASE("armed while a report is being written, again and again, each is whole", "[dump_later]") {
    expect_success(child::run([] {
        int const file = make_file();
        for (int i = 0; i < 200; ++i) {
            dump_later(1ms, dump_threads.to(file).this_thread());
            ::poll(nullptr, 0, i % 3);
            if (i % 2 != 0) cancel_dump_later();
        }
        cancel_dump_later();
        std::string const text = content_of(file);
        require_in_child(test::count_of(text, "Timeout") == test::count_of(text, "end of report"));
    }));
}
