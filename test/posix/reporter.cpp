// SPDX-License-Identifier: MIT
// What a report needs beforehand: memory, descriptors, a directory, stack.
#include <tocsin/posix/reporter.hpp>

#include <tocsin/dump.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/thread_guard.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/report_text.hpp"

using namespace tocsin;
using test::child;
using test::require_in_child;

TEST_CASE("a duplicate lies above the low numbers, and is closed on exec", "[reporter]") {
    int copy = -1;
    REQUIRE_FALSE(posix::duplicate(2, copy));
    CHECK(copy >= 100);
    CHECK((::fcntl(copy, F_GETFD) & FD_CLOEXEC) != 0);
    ::close(copy);
    CHECK(posix::duplicate(987, copy).errno_code == EBADF);
}

TEST_CASE("where few descriptors are allowed a duplicate takes what there is", "[reporter]") {
    auto subject = child::run([] {
        rlimit few{50, 50};
        ::setrlimit(RLIMIT_NOFILE, &few);
        int copy = -1;
        require_in_child(!posix::duplicate(2, copy) && copy >= 3 && copy < 50);
        few = {3, 3};
        ::setrlimit(RLIMIT_NOFILE, &few);
        failure const refused = posix::duplicate(2, copy);
        require_in_child(refused && std::string{refused.call} == "fcntl(F_DUPFD_CLOEXEC)");
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}

TEST_CASE("the directory of a path is opened, and the name kept", "[reporter]") {
    test::scratch_directory place;
    in_signal::report_target target;
    REQUIRE_FALSE(posix::open_directory((place.path() + "/crash-{pid}-{time}").c_str(), target));
    CHECK(std::string{target.file} == "crash-{pid}-{time}");
    CHECK(target.directory.is_same());
    CHECK((::fcntl(target.directory.fd, F_GETFD) & FD_CLOEXEC) != 0);
    ::close(target.directory.fd);
}

TEST_CASE("the memory of reports is made once", "[reporter]") {
    auto subject = child::run([] {
        in_signal::table* in = nullptr;
        require_in_child(!posix::find_table(in));
        require_in_child(!posix::provide_desk(*in));
        auto* const desk = in_signal::desk_of(*in);
        require_in_child(desk != nullptr && !posix::provide_desk(*in) && in_signal::desk_of(*in) == desk);
    });
    CHECK(subject.wait().exited(0));
}

TEST_CASE("a guard that reports gives back every descriptor", "[reporter]") {
    auto subject = child::run([] {
        auto const open_now = [] { return test::names_in("/proc/self/fd").size(); };
        std::size_t const before = open_now();
        for (int i = 0; i < 3; ++i) {
            guard signals{on<SIGQUIT>(dump_threads.to(1)), on<SIGUSR1>(dump_threads.to_file("/tmp/never-{pid}"))};
            require_in_child(open_now() > before);
        }
        require_in_child(open_now() == before);
        int ec = 0;
        guard refused{ec, on<SIGQUIT>(dump_threads.to(1)), on<SIGUSR1>(dump_threads.to(987))};
        require_in_child(ec == EBADF && open_now() == before);
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}

// --- Stack -------------------------------------------------------------------------------------------------

namespace {

constexpr std::size_t painted_bytes = 1 << 20;
alignas(16) char painted[painted_bytes];
constexpr char paint = 0x5a;

// Runs in the handler, after the report: how deep did it go below the kernel's frame?
void tell_depth(delivery const& d) noexcept {
    std::size_t lowest = 0;
    while (painted[lowest] == paint) ++lowest;
    auto const frame = static_cast<std::size_t>(reinterpret_cast<char*>(d.context()) - painted);
    in_signal::fixed_line<64> text;
    text.text("own use ").decimal(frame - lowest).text(" whole use ").decimal(painted_bytes - lowest).end();
    in_signal::write(1, text.data(), text.size());
}

template <class... Ts>
struct many {
    // A long name with much in it, for the demangler.
    template <class... Us>
    [[gnu::noinline]] static void wait(std::map<std::string, std::vector<Us>>*..., int end) {
        pollfd what{end, POLLIN, 0};
        ::poll(&what, 1, -1);
    }
};

__attribute__((noinline, no_sanitize("address", "undefined"))) void write_null() {
    int volatile* null = nullptr;
    __asm__ volatile("" : "+r"(null));
    *null = 1;
}

unsigned long volatile steps = 0;
[[gnu::noinline]] void run_for_ever() {
    for (;;) steps = steps + 1;
}

}  // namespace

TEST_CASE("a report stays within the part of an alternate stack that is meant for it", "[reporter]") {
    auto subject = child::run([] {
        std::memset(painted, paint, sizeof painted);
        stack_t mine{};
        mine.ss_sp = painted;
        mine.ss_size = sizeof painted;
        ::sigaltstack(&mine, nullptr);
        guard signals{on<SIGQUIT>(dump_threads), on_crash(dump_threads, in_handler(tell_depth))};
        int ends[2];
        require_in_child(::pipe(ends) == 0);
        std::atomic<int> waiting{0};
        std::vector<std::thread> threads;
        threads.emplace_back([&] {
            waiting = test::thread_id();
            many<int, std::string, std::vector<long>>::wait<int, std::string, std::pair<char, long>>(nullptr, nullptr,
                                                                                                    nullptr, ends[0]);
        });
        threads.emplace_back(run_for_ever);
        threads.emplace_back([] {
            sigset_t all;
            ::sigfillset(&all);
            ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
            run_for_ever();
        });
        while (waiting == 0) ::sched_yield();
        test::until_asleep(waiting);
        write_null();
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    std::size_t own = 0;
    std::size_t all = 0;
    REQUIRE(std::sscanf(end.out.c_str(), "own use %zu whole use %zu", &own, &all) == 2);
    CHECK(own > 1000);
    CHECK(3 * own <= posix::alternate_stack_need(0) - ::getauxval(AT_MINSIGSTKSZ));
    CHECK(all < posix::alternate_stack_need(65536));
    CHECK(end.err.find("tocsin: end of report, 5 threads") != std::string::npos);
}
