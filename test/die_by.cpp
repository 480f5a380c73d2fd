// SPDX-License-Identifier: MIT
#include <tocsin/die_by.hpp>

#include <sched.h>
#include <sys/resource.h>

#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using test::child;

TEST_CASE("the parent sees a death by the signal", "[die_by]") {
    for (int const signal : detail::deadly_signals) {
        auto subject = child::run([&] { die_by(signal); });
        auto const& end = subject.wait();
        INFO(signal << ": " << end.describe());
        CHECK(end.killed_by(signal));
    }
}

TEST_CASE("handlers, masks and guards do not get in the way", "[die_by]") {
    auto subject = child::run([] {
        guard signals{on<SIGINT>(in_handler([](delivery const&) noexcept {}))};
        test::block_signal(SIGINT);
        die_by<SIGINT>();
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGINT));
}

TEST_CASE("it works from a handler, for the signal that is being handled", "[die_by]") {
    auto subject = child::run([] {
        auto const action = test::make_action([](int signal) { die_by(signal); });
        ::sigaction(SIGTERM, &action, nullptr);
        ::raise(SIGTERM);
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGTERM));
}

TEST_CASE("what does not end a process becomes an exit code", "[die_by]") {
    struct {
        int signal;
        int code;
    } const cases[] = {
        {SIGCHLD, 128 + SIGCHLD}, {SIGSTOP, 128 + SIGSTOP}, {SIGTSTP, 128 + SIGTSTP}, {0, 128}};
    for (auto const& each : cases) {
        auto subject = child::run([&] { die_by(each.signal); });
        auto const& end = subject.wait();
        INFO(end.describe());
        CHECK(end.exited(each.code));
    }
}

TEST_CASE("no atexit function runs", "[die_by]") {
    auto subject = child::run([] {
        std::atexit([] { test::say("at exit"); });
        die_by<rt<3>>();
    });
    auto const& end = subject.wait();
    CHECK(end.killed_by(SIGRTMIN + 3));
    CHECK(end.out.empty());
}
