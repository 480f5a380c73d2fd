// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/call.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/stop.hpp>
#include <tocsin/wake.hpp>

#include <stop_token>
#include <thread>

using namespace tocsin;
using namespace tocsin::test;

TEST_CASE("a stop is seen as soon as the signal has been handled, and its token is tripped", "[stop]") {
    in_child([] {
        guard signals{on<SIGINT, SIGTERM>(request_stop)};
        auto const token = signals.stop_token();
        require_in_child(!signals.stop_requested() && !token.stop_requested() && token.stop_possible());
        ::raise(SIGTERM);
        require_in_child(signals.stop_requested());
        until([&] { return token.stop_requested(); });
    });
}

TEST_CASE("what waits for the token is told, off the handler", "[stop]") {
    in_child([] {
        guard signals{on<SIGINT>(request_stop)};
        in_signal::atomic<int> thread;
        std::stop_callback const told{signals.stop_token(), [&] { thread.store(::gettid()); }};
        ::raise(SIGINT);
        until([&] { return thread.load() != 0; });
        require_in_child(thread.load() != ::gettid());
    });
}

TEST_CASE("a token outlives its guard", "[stop]") {
    in_child([] {
        std::stop_token token;
        {
            guard signals{on<SIGINT>(request_stop)};
            token = signals.stop_token();
            ::raise(SIGINT);
            until([&] { return token.stop_requested(); });
        }
        require_in_child(token.stop_requested());
    });
}

TEST_CASE("a second signal after the stop has been dispatched ends the process by that signal", "[stop]") {
    int const second = GENERATE(SIGINT, SIGTERM);
    auto process = child::run([second] {
        guard signals{on<SIGINT, SIGTERM>(request_stop)};
        ::raise(SIGINT);
        until([&] { return signals.stop_token().stop_requested(); });
        say("stopping");
        ::raise(second);
        say("never");
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.killed_by(second));
    CHECK(result.out == "stopping\n");
}

TEST_CASE("a second signal from outside ends a process that is stuck in its stop", "[stop]") {
    auto process = child::run([] {
        guard signals{on<SIGTERM>(request_stop)};
        std::stop_callback const stuck{signals.stop_token(), [] {
                                           say("stuck");
                                           for (;;) ::pause();
                                       }};
        say("ready");
        for (;;) ::pause();
    });
    REQUIRE(process.expect_line("ready"));
    process.signal(SIGTERM);
    REQUIRE(process.expect_line("stuck"));
    process.signal(SIGTERM);
    CHECK(process.wait().killed_by(SIGTERM));
}

TEST_CASE("a later signal ends the process after a second, even if the dispatcher is stuck", "[stop]") {
    auto process = child::run([] {
        in_signal::atomic<int> stuck;
        guard signals{on<SIGHUP>(call([&] {
                          stuck.store(1);
                          for (;;) ::pause();
                      })),
                      on<SIGTERM>(request_stop)};
        ::raise(SIGHUP);
        until([&] { return stuck.load() != 0; });
        ::raise(SIGTERM);
        say("first");
        for (;;) ::raise(SIGTERM);
    });
    auto const begin = std::chrono::steady_clock::now();
    REQUIRE(process.expect_line("first"));
    auto const& result = process.wait();
    auto const took = std::chrono::steady_clock::now() - begin;
    INFO(result.describe());
    CHECK(result.killed_by(SIGTERM));
    CHECK(took >= milliseconds{900});
}

TEST_CASE("duplicates merge until the stop has been dispatched", "[stop]") {
    in_child([] {
        in_signal::atomic<int> entered;
        in_signal::atomic<int> leave;
        guard signals{on<SIGHUP>(call([&] {
                          entered.store(1);
                          until([&] { return leave.load() != 0; });
                      })),
                      on<SIGTERM>(request_stop)};
        ::raise(SIGHUP);
        until([&] { return entered.load() == 1; });
        for (int i = 0; i < 10; ++i) ::raise(SIGTERM);
        leave.store(1);
        until([&] { return signals.stop_token().stop_requested(); });
    });
}

TEST_CASE("request_stop.every never takes the default", "[stop]") {
    in_child([] {
        guard signals{on<SIGTERM>(request_stop.every())};
        ::raise(SIGTERM);
        until([&] { return signals.stop_token().stop_requested(); });
        for (int i = 0; i < 100; ++i) ::raise(SIGTERM);
        require_in_child(signals.stop_requested());
    });
}

TEST_CASE("a stop leaves errno alone and lets the rest of its row run", "[stop]") {
    in_child([] {
        guard signals{on<SIGTERM>(request_stop, wake)};
        errno = E2BIG;
        ::raise(SIGTERM);
        require_in_child(errno == E2BIG && signals.stop_requested() && readable(signals.fd()));
    });
}

TEST_CASE("two guards stop each by their own signals", "[stop]") {
    in_child([] {
        guard first{on<SIGTERM>(request_stop)};
        guard second{on<SIGINT>(request_stop)};
        ::raise(SIGINT);
        until([&] { return second.stop_token().stop_requested(); });
        require_in_child(!first.stop_requested() && !first.stop_token().stop_requested());
    });
}
