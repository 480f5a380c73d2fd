// SPDX-License-Identifier: MIT
// The end by fatal(), and by an exception that nobody catches.
#include <tocsin/fatal.hpp>

#include <tocsin/tocsin.hpp>

#include <exception>
#include <stdexcept>
#include <string>
#include <thread>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/report_text.hpp"

using namespace tocsin;
using test::child;

namespace {

[[gnu::noinline]] void give_up(std::string const& message) { fatal(message); }

struct odd_exception {};

[[gnu::noinline]] void throw_one(int kind) {
    if (kind == 0) throw std::runtime_error{"disk \x1b[2J gone"};
    if (kind == 1) throw odd_exception{};
    if (kind == 2) throw 7;
}

// Apart, because compilers warn of a throw that they see go nowhere.
[[gnu::noinline]] void throw_uncaught(int kind) noexcept { throw_one(kind); }

}  // namespace

TEST_CASE("fatal ends in SIGABRT, and the report has the message and the place of the call", "[fatal]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads)};
        give_up("cannot \"go\" on\n");
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGABRT));
    CHECK(end.err.find("  last words: fatal: cannot \\x22go\\x22 on\\x0a, give_up at ") != std::string::npos);
    CHECK(end.err.find("fatal.cpp:") != std::string::npos);
    CHECK(test::count_of(end.err, "tocsin: end of report") == 1);
    CHECK(test::threads_of(end.err)[0].names("give_up"));
}

TEST_CASE("fatal without a guard says it and reports all the same", "[fatal]") {
    auto victim = child::run([] { fatal("no guard"); });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGABRT));
    CHECK(end.err.rfind("tocsin: fatal: no guard, operator() at ", 0) == 0);
    CHECK(test::count_of(end.err, "tocsin: end of report") == 1);
}

TEST_CASE("fatal on a thread of its own is shown first", "[fatal]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads)};
        std::thread{[] { give_up("worker"); }}.join();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGABRT));
    CHECK(test::threads_of(end.err)[0].names("give_up"));
    CHECK(end.err.find("last words: fatal: worker") != std::string::npos);
}

TEST_CASE("an exception that nobody catches is in the report, by type and text", "[fatal]") {
    auto const [kind, words] = GENERATE(table<int, std::string>({
        {0, "  last words: terminated by std::runtime_error: disk \\x1b[2J gone\n"},
        {1, "  last words: terminated by (anonymous namespace)::odd_exception\n"},
        {2, "  last words: terminated by int\n"},
    }));
    auto victim = child::run([which = kind] {
        guard signals{on_crash(dump_threads)};
        throw_uncaught(which);
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGABRT));
    CHECK(end.err.find(words) != std::string::npos);
}

TEST_CASE("terminate without an exception says so", "[fatal]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads)};
        std::terminate();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGABRT));
    CHECK(end.err.find("last words: terminated without an active exception of C++\n") != std::string::npos);
}

TEST_CASE("the terminate handler of the program is called behind ours, and is back after the guard", "[fatal]") {
    auto victim = child::run([] {
        std::set_terminate([] {
            test::say("mine");
            std::abort();
        });
        auto const mine = std::get_terminate();
        {
            guard signals{on_crash(dump_threads)};
            test::require_in_child(std::get_terminate() != mine);
            guard inner{on_crash<SIGSEGV>(dump_threads)};
        }
        test::require_in_child(std::get_terminate() == mine);
        guard signals{on_crash(dump_threads)};
        std::terminate();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGABRT));
    CHECK(end.out == "mine\n");
    CHECK(end.err.find("last words: terminated") != std::string::npos);
}
