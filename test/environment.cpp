// SPDX-License-Identifier: MIT
// Each child sets TOCSIN, asks for it to be followed, and is then treated as the text expects.
#include <tocsin/environment.hpp>

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/report_text.hpp"

using namespace tocsin;
using namespace tocsin::test;

namespace {

bool follow(std::string const& text) {
    ::setenv("TOCSIN", text.c_str(), 1);
    return from_environment();
}

bool is_default(int signal) {
    struct sigaction live {};
    ::sigaction(signal, nullptr, &live);
    return live.sa_handler == SIG_DFL;
}

[[gnu::noinline]] void crash_here() {
    int volatile* nowhere = nullptr;
    __asm__ volatile("" : "+r"(nowhere));
    *nowhere = 1;
}

// A child that follows the text and then crashes.
outcome crash_with(std::string const& text) {
    auto victim = child::run([&] {
        require_in_child(follow(text));
        crash_here();
    });
    return victim.wait();
}

int volatile handled = 0;
void count_it(int) { handled = handled + 1; }

bool has(std::string const& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("without TOCSIN, and with an empty one, nothing is on and nothing is said", "[environment]") {
    char const* const text = GENERATE(static_cast<char const*>(nullptr), "", "  ");
    auto victim = child::run([&] {
        if (text == nullptr)
            ::unsetenv("TOCSIN");
        else
            ::setenv("TOCSIN", text, 1);
        require_in_child(!from_environment());
        for (int signal = 1; signal <= 31; ++signal) require_in_child(is_default(signal));
    });
    outcome const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    CHECK(end.err.empty());
}

TEST_CASE("crash reports a fault, and the process dies of it", "[environment]") {
    outcome const end = crash_with("crash");
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(has(end.err, "tocsin: SIGSEGV (address not mapped)"));
    CHECK(threads_of(end.err).at(0).frame_is(0, "(anonymous namespace)::crash_here()"));
    CHECK(has(end.err, "registers:"));
    CHECK(has(end.err, "tocsin: end of report, 1 thread"));
}

TEST_CASE("text that is wrong is one line, nothing is on, and the program runs on", "[environment]") {
    auto victim = child::run([] {
        require_in_child(!follow("crash,quit,bell\x1b"));
        require_in_child(!from_environment());  // and is not told of twice
        for (int signal = 1; signal <= 31; ++signal) require_in_child(is_default(signal));
        say("runs on");
    });
    outcome const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    CHECK(end.out == "runs on\n");
    REQUIRE(lines_of(end.err).size() == 1);
    CHECK(has(end.err, "tocsin: TOCSIN is not followed: at 12 \"bell\\x1b\": no such word"));
}

TEST_CASE("quit, and another signal, are reported, and the process goes on without a thread of ours",
          "[environment]") {
    auto victim = child::run([] {
        require_in_child(follow("quit,on=rtmin+5"));
        require_in_child(names_in("/proc/self/task").size() == 1);
        ::raise(SIGQUIT);
        ::raise(SIGRTMIN + 5);
        ::raise(SIGQUIT);
        say("goes on");
    });
    outcome const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    CHECK(end.out == "goes on\n");
    CHECK(count_of(end.err, "tocsin: SIGQUIT sent by") == 2);
    CHECK(count_of(end.err, "tocsin: SIGRTMIN+5 sent by") == 1);
    CHECK(count_of(end.err, "tocsin: end of report, 1 thread") == 3);
}

TEST_CASE("a forked child reports for itself, a crash and a signal, to its own file", "[environment]") {
    scratch_directory const folder;
    auto victim = child::run([&] {
        require_in_child(follow("crash,quit,to=" + folder.file("{pid}")));
        pid_t const forked = ::fork();
        if (forked == 0) {
            ::raise(SIGQUIT);
            crash_here();
        }
        int status = 0;
        ::waitpid(forked, &status, 0);
        require_in_child(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
        say(std::to_string(forked));
        ::raise(SIGQUIT);
        return 0;
    });
    outcome const& end = victim.wait();
    INFO(end.describe());
    REQUIRE(end.exited(0));
    std::string const forked = lines_of(end.out).at(0);
    CHECK(names_in(folder.path()).size() == 3);
    CHECK(has(contents_of(folder.file(forked)), "tocsin: SIGQUIT sent by process " + forked));
    CHECK(has(contents_of(folder.file(forked + ".1")), "tocsin: SIGSEGV (address not mapped)"));
    CHECK(has(contents_of(folder.file(std::to_string(victim.pid()))), "tocsin: SIGQUIT"));
}

TEST_CASE("a handler that was there is called after the report", "[environment]") {
    auto victim = child::run([] {
        ::signal(SIGUSR1, &count_it);
        require_in_child(follow("on=USR1"));
        ::raise(SIGUSR1);
        require_in_child(handled == 1);
    });
    outcome const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    CHECK(has(end.err, "tocsin: SIGUSR1 sent by"));
}

TEST_CASE("signals= narrows crash to these", "[environment]") {
    auto victim = child::run([] {
        require_in_child(follow("crash,signals=bus+FPE"));
        require_in_child(is_default(SIGSEGV));
        require_in_child(is_default(SIGABRT));
        require_in_child(!is_default(SIGBUS));
        ::raise(SIGFPE);
    });
    outcome const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGFPE));
    CHECK(count_of(end.err, "tocsin: SIGFPE") == 1);
}

TEST_CASE("a report goes to a new file of this process, wherever the program goes meanwhile",
          "[environment]") {
    scratch_directory const folder;
    auto victim = child::run([&] {
        if (::chdir(folder.path().c_str()) != 0) return 90;
        require_in_child(follow("crash,to=crash-{pid}.txt"));
        ::setenv("TOCSIN", "something else, much longer than what was there", 1);
        if (::chdir("/") != 0) return 90;
        crash_here();
        return 0;
    });
    outcome const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(end.err.empty());
    CHECK(has(contents_of(folder.file("crash-" + std::to_string(victim.pid()) + ".txt")),
              "tocsin: end of report"));
}

TEST_CASE("a word that the system refuses is told of, and the others are followed", "[environment]") {
    outcome end;
    SECTION("a folder that is not there") {
        auto victim = child::run([] { require_in_child(!follow("crash,to=/nonexistent/{pid}\n")); });
        end = victim.wait();
        CHECK(has(end.err,
                  "tocsin: TOCSIN: crash is not turned on: No such file or directory, of the directory of "
                  "\"/nonexistent/{pid}\""));
    }
    SECTION("a descriptor that is closed") {
        auto victim = child::run([] { require_in_child(!follow("quit,to=fd:999")); });
        end = victim.wait();
        CHECK(has(end.err, "tocsin: TOCSIN: SIGQUIT is not turned on: Bad file descriptor"));
    }
    SECTION("the signal that the library keeps for itself") {
        auto victim = child::run([] { require_in_child(follow("quit,on=RTMAX-1")); });
        end = victim.wait();
        CHECK(has(end.err, "tocsin: TOCSIN: SIGRTMIN+29 is not turned on: "));
    }
    INFO(end.describe());
    CHECK(end.exited(0));
    CHECK(lines_of(end.err).size() == 1);
}

TEST_CASE("without standard error, and with a broken one, the program runs on", "[environment]") {
    bool const closed = GENERATE(true, false);
    auto victim = child::run([&] {
        int ends[2];
        require_in_child(::pipe(ends) == 0);
        ::close(ends[0]);
        if (closed)
            ::close(2);
        else
            ::dup2(ends[1], 2);
        require_in_child(!follow("crash,crush"));
        say("runs on");
    });
    CHECK(victim.wait().exited(0));
    CHECK(victim.out() == "runs on\n");
}

TEST_CASE("the form of the report is the one that was asked for", "[environment]") {
    SECTION("json") {
        outcome const end = crash_with("crash,format=json");
        for (auto const& line : lines_of(end.err)) CHECK(line.front() == '{');
        CHECK(has(end.err, "crash_here"));
    }
    SECTION("collapsed") {
        outcome const end = crash_with("crash,format=collapsed");
        CHECK(has(end.err, "crash_here() 1"));
    }
    SECTION("markup") { CHECK(has(crash_with("crash,format=markup").err, "{{{bt:0:")); }
    SECTION("faulthandler") {
        CHECK(has(crash_with("crash,format=faulthandler").err, "Fatal error: Segmentation fault"));
    }
    SECTION("text") { CHECK(has(crash_with("crash,format=text").err, "\ntocsin: end of report")); }
}

TEST_CASE("registers=off leaves them out", "[environment]") {
    outcome const end = crash_with("crash,registers=off");
    INFO(end.describe());
    CHECK(has(end.err, "tocsin: end of report"));
    CHECK_FALSE(has(end.err, "registers:"));
}

TEST_CASE("threads=this leaves the others out", "[environment]") {
    bool const alone = GENERATE(true, false);
    auto victim = child::run([&] {
        require_in_child(follow(alone ? "quit,threads=this" : "quit"));
        pthread_t other;
        auto const wait = [](void*) -> void* {
            for (;;) ::pause();
        };
        require_in_child(::pthread_create(&other, nullptr, wait, nullptr) == 0);
        ::raise(SIGQUIT);
    });
    outcome const& end = victim.wait();
    INFO(end.describe());
    CHECK(threads_of(end.err).size() == (alone ? 1 : 2));
}

TEST_CASE("watchdog reports again and again, without being fed", "[environment]") {
    auto victim = child::run([] {
        require_in_child(follow("watchdog=100ms"));
        wait_for_parent();
    });
    CHECK(victim.expect_error_line("Timeout (0:00:00.100000)!"));
    CHECK(victim.expect_error_line("tocsin: end of report"));
    CHECK(victim.expect_error_line("Timeout (0:00:00.100000)!"));
    victim.close_input();
    CHECK(victim.wait().exited(0));
}

TEST_CASE("later reports once, and with exit ends the process", "[environment]") {
    bool const exits = GENERATE(true, false);
    auto victim = child::run([&] {
        require_in_child(follow(exits ? "later=100ms,exit" : "later=100ms"));
        wait_for_parent();
        return 7;
    });
    CHECK(victim.expect_error_line("Timeout (0:00:00.100000)!"));
    if (!exits) {
        CHECK(victim.expect_error_line("tocsin: end of report"));
        CHECK_FALSE(victim.expect_error_line("Timeout", milliseconds{300}));
        victim.close_input();
    }
    outcome const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.exited(exits ? 1 : 7));
}

TEST_CASE("doctor checks what has just been turned on", "[environment]") {
    auto victim = child::run([] { require_in_child(follow("doctor,crash")); });
    outcome const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    CHECK(has(end.err, "tocsin doctor: summary: "));
    CHECK_FALSE(has(end.err, "nobody reports"));
}

TEST_CASE("a second call changes nothing, and errno is kept", "[environment]") {
    auto victim = child::run([] {
        errno = 4711;
        require_in_child(follow("quit"));
        require_in_child(errno == 4711);
        require_in_child(follow("on=USR1"));
        require_in_child(is_default(SIGUSR1));
        require_in_child(errno == 4711);
    });
    CHECK(victim.wait().exited(0));
}
