// SPDX-License-Identifier: MIT
#include "support/catch.hpp"
#include "support/child.hpp"

using namespace tocsin::test;

namespace {

// True if all of `parts` occur in this order.
bool in_order(std::string const& text, std::vector<std::string> const& parts) {
    std::size_t at = 0;
    for (std::string const& part : parts) {
        at = text.find(part, at);
        if (at == std::string::npos) {
            UNSCOPED_INFO("missing from here on: " << part);
            return false;
        }
    }
    return true;
}

}  // namespace

TEST_CASE("the demo goes through all five jobs and stops in good order", "[tour]") {
    auto program = child::program({example("tour"), "--demo", example("tour")});
    auto const& end = program.wait(milliseconds{60'000});
    INFO(end.describe());
    CHECK(end.exited(0));
    CHECK(in_order(end.out, {"3 workers", "kill -USR1", "SIGUSR1 woke the loop", "kill -HUP", "SIGHUP: reloaded",
                             "kill -QUIT", "tocsin: SIGQUIT sent by process", "main+0x", "\"worker 1\"",
                             "tocsin: end of report", "kill -USR2", "forget to feed", "tocsin: watchdog: not fed for",
                             "forget_to_feed()", "tocsin: end of report", "kill -TERM", "stopped in good order"}));
}

TEST_CASE("the crash of the demo shows every thread and dies of the original signal", "[tour]") {
    auto program = child::program({example("tour"), "--demo=crash", example("tour")});
    auto const& end = program.wait(milliseconds{60'000});
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(in_order(end.out, {"tocsin: SIGSEGV (address not mapped) at 0x0000000000000000", "\"worker 1\"",
                             "crash_while_parsing", "\"tour\"", "main+0x", "\"worker 2\"", "\"worker 3\"",
                             "tocsin: end of report"}));
}

TEST_CASE("without --demo it is an ordinary program to be signalled by hand", "[tour]") {
    auto program = child::program({example("tour"), example("tour")});
    REQUIRE(program.expect_line("3 workers"));
    REQUIRE(program.signal(SIGUSR1));
    REQUIRE(program.expect_line("SIGUSR1 woke the loop"));
    REQUIRE(program.signal(SIGHUP));
    REQUIRE(program.expect_line("SIGHUP: reloaded"));
    REQUIRE(program.signal(SIGTERM));
    REQUIRE(program.expect_line("stopped in good order"));
    CHECK(program.wait().exited(0));
}
