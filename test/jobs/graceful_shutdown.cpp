// SPDX-License-Identifier: MIT
#include "support/catch.hpp"
#include "support/child.hpp"

using namespace tocsin::test;

TEST_CASE("SIGTERM stops the program in good order", "[graceful_shutdown]") {
    auto program = child::program({example("graceful_shutdown")});
    REQUIRE(program.expect_line("ready"));
    REQUIRE(program.signal(SIGTERM));
    auto const& end = program.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    CHECK(end.out.find("worker: finished what it had begun") != std::string::npos);
    CHECK(end.out.find("stopped in good order") != std::string::npos);
}

TEST_CASE("Ctrl-C does the same", "[graceful_shutdown]") {
    auto program = child::program({example("graceful_shutdown")});
    REQUIRE(program.expect_line("ready"));
    REQUIRE(program.signal(SIGINT));
    CHECK(program.wait().exited(0));
}
