// SPDX-License-Identifier: MIT
#include "support/catch.hpp"
#include "support/child.hpp"

using namespace tocsin::test;

TEST_CASE("the loop sees each signal with its sender and value", "[event_loop]") {
    auto program = child::program({example("event_loop")});
    REQUIRE(program.expect_line("ready"));
    REQUIRE(program.signal(SIGHUP));
    REQUIRE(program.expect_line("SIGHUP from " + std::to_string(::getpid()) + ", value 0, 1 times"));
    REQUIRE(program.queue(SIGRTMIN, 17));
    REQUIRE(program.expect_line("SIGRTMIN from " + std::to_string(::getpid()) + ", value 17, 1 times"));
    REQUIRE(program.signal(SIGTERM));
    REQUIRE(program.expect_line("stopped"));
    CHECK(program.wait().exited(0));
}
