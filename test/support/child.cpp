// SPDX-License-Identifier: MIT
#include "support/child.hpp"

#include "support/catch.hpp"

using namespace tocsin;
using test::child;
using test::milliseconds;

TEST_CASE("a child's exit status and what it wrote are reported", "[child]") {
    auto ended = child::run([] {
        test::say("to stdout");
        std::fputs("to stderr\n", stderr);
        return 7;
    });
    auto const& outcome = ended.wait();
    CHECK(outcome.exited(7));
    CHECK_FALSE(outcome.exited(0));
    CHECK(outcome.out == "to stdout\n");
    CHECK(outcome.err == "to stderr\n");
}

TEST_CASE("buffered output of the child arrives, that of the parent does not", "[child]") {
    std::printf("%s", "");
    auto ended = child::run([] { std::printf("no newline, no flush"); });
    CHECK(ended.wait().out == "no newline, no flush");
    CHECK(ended.wait().code == 0);
}

TEST_CASE("a child that dies of a signal names it", "[child]") {
    int const number = GENERATE(SIGTERM, SIGSEGV, SIGABRT, SIGKILL);
    auto ended = child::run([number] { ::raise(number); });
    auto const& outcome = ended.wait();
    CHECK(outcome.killed_by(number));
    CHECK(outcome.code == -1);
}

TEST_CASE("a child starts with default dispositions, an empty mask and no alternate stack", "[child]") {
    struct sigaction ignore {};
    struct sigaction before {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGUSR2, &ignore, &before);
    sigset_t set;
    sigset_t old;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGUSR1);
    ::pthread_sigmask(SIG_BLOCK, &set, &old);

    auto fresh = child::run([] {
        for (int number = 1; number < NSIG; ++number) {
            struct sigaction now {};
            if (::sigaction(number, nullptr, &now) == 0) test::require_in_child(now.sa_handler == SIG_DFL);
        }
        sigset_t mask;
        ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
        for (int number = 1; number < NSIG; ++number)
            test::require_in_child(::sigismember(&mask, number) != 1);
        stack_t stack{};
        ::sigaltstack(nullptr, &stack);
        test::require_in_child((stack.ss_flags & SS_DISABLE) != 0);
        test::require_in_child(::getpgrp() == ::getpid());
    });
    auto const outcome = fresh.wait();
    ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
    ::sigaction(SIGUSR2, &before, nullptr);
    INFO(outcome.describe());
    CHECK(outcome.exited(0));
}

TEST_CASE("a line is waited for, and the next call looks after it", "[child]") {
    auto talker = child::run([] {
        test::say("one ready");
        test::say("two ready");
        std::string line;
        while (test::hear(line)) test::say("heard " + line);
        test::say("end");
    });
    CHECK(talker.expect_line("ready"));
    CHECK(talker.expect_line("two"));
    CHECK_FALSE(talker.expect_line("one", milliseconds{1}));
    CHECK(talker.tell("hello"));
    CHECK(talker.expect_line("heard hello"));
    talker.close_input();
    CHECK(talker.expect_line("end"));
    CHECK_FALSE(talker.expect_line("more"));
    CHECK(talker.wait().exited(0));
}

TEST_CASE("lines on stderr are waited for apart from those on stdout", "[child]") {
    auto talker = child::run([] {
        test::say("out");
        std::fputs("err\n", stderr);
        test::wait_for_parent();
    });
    CHECK(talker.expect_error_line("err"));
    CHECK(talker.expect_line("out"));
    talker.close_input();
    CHECK(talker.wait().exited(0));
}

TEST_CASE("a signal and a queued value reach the child", "[child]") {
    auto waiter = child::run([] {
        sigset_t set;
        ::sigemptyset(&set);
        ::sigaddset(&set, SIGUSR1);
        ::sigaddset(&set, SIGUSR2);
        ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
        test::say("ready");
        siginfo_t info{};
        test::require_in_child(::sigwaitinfo(&set, &info) == SIGUSR1);
        test::say("first");
        test::require_in_child(::sigwaitinfo(&set, &info) == SIGUSR2);
        return info.si_value.sival_int;
    });
    REQUIRE(waiter.expect_line("ready"));
    CHECK(waiter.signal(SIGUSR1));
    REQUIRE(waiter.expect_line("first"));
    CHECK(waiter.queue(SIGUSR2, 42));
    CHECK(waiter.wait().exited(42));
    CHECK_FALSE(waiter.signal(0));
}

TEST_CASE("a child that misses its deadline is killed, with what it started, and said to have timed out",
          "[child]") {
    auto stuck = child::run([] {
        if (::fork() == 0) {
            for (;;) ::pause();
        }
        test::say("stuck");
        for (;;) ::pause();
    });
    REQUIRE(stuck.expect_line("stuck"));
    auto const& outcome = stuck.wait(milliseconds{10});
    CHECK(outcome.timed_out);
    CHECK_FALSE(outcome.killed_by(SIGKILL));
    CHECK(outcome.out == "stuck\n");
}

TEST_CASE("a grandchild that keeps the streams open does not hold up the wait", "[child]") {
    auto leaver = child::run([] {
        if (::fork() == 0) {
            for (;;) ::pause();
        }
        test::say("left");
    });
    auto const& outcome = leaver.wait();
    CHECK(outcome.exited(0));
    CHECK(outcome.out == "left\n");
}

TEST_CASE("more output than a pipe holds does not block the child", "[child]") {
    auto writer = child::run([] { test::say(std::string(1 << 20, 'x')); });
    auto const& outcome = writer.wait();
    CHECK(outcome.exited(0));
    CHECK(outcome.out.size() == (1U << 20) + 1);
}

TEST_CASE("two children have separate inputs", "[child]") {
    auto first = child::run([] { test::wait_for_parent(); });
    auto second = child::run([] { test::wait_for_parent(); });
    first.close_input();
    CHECK(first.wait().exited(0));
    second.close_input();
    CHECK(second.wait().exited(0));
}

TEST_CASE("an exception that leaves the lambda is told apart from an exit", "[child]") {
    auto thrower = child::run([] { throw std::runtime_error{"on purpose"}; });
    auto const& outcome = thrower.wait();
    CHECK(outcome.exited(97));
    CHECK(outcome.err.find("on purpose") != std::string::npos);
}

TEST_CASE("a program is run with its arguments", "[child]") {
    auto shell = child::program({"sh", "-c", "read line; echo got $line; kill -TERM $$"});
    CHECK(shell.tell("this"));
    auto const& outcome = shell.wait();
    CHECK(outcome.killed_by(SIGTERM));
    CHECK(outcome.out == "got this\n");
}

TEST_CASE("a program that does not exist says so", "[child]") {
    auto none = child::program({"/nonexistent/program"});
    auto const& outcome = none.wait();
    CHECK(outcome.exited(127));
    CHECK(outcome.err.find("/nonexistent/program") != std::string::npos);
}
