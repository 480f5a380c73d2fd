// SPDX-License-Identifier: MIT
#include "support/catch.hpp"
#include "support/child.hpp"

using namespace tocsin::test;

TEST_CASE("the program of the README reloads, dumps and stops", "[all_together]") {
    auto program = child::program({example("all_together")});
    REQUIRE(program.expect_line("ready"));
    REQUIRE(program.signal(SIGHUP));
    REQUIRE(program.expect_line("reloaded"));
    REQUIRE(program.signal(SIGQUIT));
    REQUIRE(program.expect_error_line(" serve_one(std::stop_token const&, int)+0x"));
    REQUIRE(program.expect_error_line("tocsin: end of report"));
    REQUIRE(program.signal(SIGINT));
    CHECK(program.wait().exited(0));
}
