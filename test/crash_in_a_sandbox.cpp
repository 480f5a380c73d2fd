// SPDX-License-Identifier: MIT
// Crashes of processes that may do little: refused calls, no descriptors, numbers that are another's by now.
#include <tocsin/tocsin.hpp>

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/refuse_call.hpp"
#include "support/report_text.hpp"

using namespace tocsin;
using test::child;

namespace {

[[gnu::noinline]] void write_null() {
    static int volatile* volatile nowhere = nullptr;
    *nowhere = 1;
}

void expect_one_report(test::outcome const& end) {
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(test::count_of(end.err, "tocsin: SIGSEGV (address not mapped)") == 1);
    CHECK(test::count_of(end.err, "tocsin: end of report, ") == 1);
    CHECK(end.err.find("write_null()+0x") != std::string::npos);
}

}  // namespace

TEST_CASE("a call that a filter refuses costs no more than what it was for", "[crash_in_a_sandbox]") {
    long const refused = GENERATE(SYS_rt_sigprocmask, SYS_getdents64, SYS_timer_create, SYS_rt_sigpending,
                                  SYS_ppoll, SYS_clock_gettime, SYS_rt_tgsigqueueinfo, SYS_tgkill, SYS_readlinkat,
                                  SYS_getpid, SYS_gettid);
    bool const trapped = GENERATE(false, true);
    CAPTURE(refused, trapped);
    auto victim = child::run([=] {
        guard signals{on_crash(dump_threads)};
        trapped ? test::trap_call(refused) : test::refuse_call(refused, EPERM);
        write_null();
    });
    expect_one_report(victim.wait());
}

TEST_CASE("where dispositions may not be changed any more a crash is reported once, and ends", "[crash_in_a_sandbox]") {
    bool const trapped = GENERATE(false, true);
    auto victim = child::run([=] {
        guard signals{on_crash(dump_threads)};
        trapped ? test::trap_call(SYS_rt_sigaction) : test::refuse_call(SYS_rt_sigaction, EPERM);
        write_null();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.exited(128 + SIGSEGV));  // the signal itself cannot be had
    CHECK(test::count_of(end.err, "tocsin: end of report, ") == 1);
}

TEST_CASE("under a filter that traps all but a few calls a crash is reported once, and ends", "[crash_in_a_sandbox]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads)};
        test::trap_all_but({SYS_write, SYS_exit_group, SYS_rt_sigreturn, SYS_rt_sigaction, SYS_rt_sigprocmask,
                            SYS_getpid, SYS_gettid, SYS_tgkill, SYS_rt_tgsigqueueinfo, SYS_clock_gettime});
        write_null();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(test::count_of(end.err, "tocsin: SIGSEGV (address not mapped)") == 1);
    CHECK(test::count_of(end.err, "tocsin: end of report, ") == 1);
}

TEST_CASE("a call that a filter traps is reported where all that is left is to write and to end",
          "[crash_in_a_sandbox]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads)};
        test::trap_all_but({SYS_write, SYS_exit_group, SYS_rt_sigreturn});
        ::getppid();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.exited(128 + SIGSYS));
    CHECK(test::count_of(end.err, "tocsin: SIGSYS (system call refused by a filter)") == 1);
    CHECK(test::count_of(end.err, "tocsin: end of report, ") == 1);
}

TEST_CASE("with no descriptor left the guard's reserve is used for names and threads", "[crash_in_a_sandbox]") {
    auto victim = child::run([] {
        rlimit few{};
        ::getrlimit(RLIMIT_NOFILE, &few);
        few.rlim_cur = 200;
        ::setrlimit(RLIMIT_NOFILE, &few);
        guard signals{on_crash(dump_threads)};
        std::thread{[] {
            for (;;) ::pause();
        }}.detach();
        while (::open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0) {
        }
        write_null();
    });
    auto const& end = victim.wait();
    expect_one_report(end);
    CHECK(end.err.find("end of report, 2 threads") != std::string::npos);
}

TEST_CASE("a file that has taken our number and the inode of the one before is left alone", "[crash_in_a_sandbox]") {
    test::scratch_directory const folder;
    std::string const log = folder.file("log");
    std::string const other = folder.file("other");
    auto victim = child::run([&] {
        int const to = ::open(log.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        guard signals{on_crash(dump_threads.to(to))};
        ::close_range(3, ~0U, 0);
        ::unlink(log.c_str());
        int const taken = ::open(other.c_str(), O_WRONLY | O_CREAT, 0600);
        for (int number = 100; number < 110; ++number) ::dup2(taken, number);
        write_null();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(test::contents_of(other).empty());
}

TEST_CASE("each place that one crash is to be reported to has its report", "[crash_in_a_sandbox]") {
    test::scratch_directory const folder;
    std::string const inner = folder.file("inner");
    std::string const outer = folder.file("outer");
    auto victim = child::run([&] {
        guard first{on_crash(dump_threads.to_file(outer.c_str()))};
        guard second{on_crash(dump_threads, dump_threads.as(json).to_file(inner.c_str()), chain)};
        write_null();
    });
    expect_one_report(victim.wait());
    CHECK(test::contents_of(outer).find("end of report") != std::string::npos);
    CHECK(test::contents_of(inner).find("\"type\":\"end\"") != std::string::npos);
}

TEST_CASE("a crash goes before the dumps that other threads ask for without a pause", "[crash_in_a_sandbox]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads)};
        int const nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
        for (int i = 0; i < 2; ++i)
            std::thread{[nowhere] {
                for (;;) dump(nowhere);
            }}.detach();
        while (dump(nowhere) != 0) {
        }
        write_null();
    });
    expect_one_report(victim.wait());
}
