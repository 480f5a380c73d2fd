// SPDX-License-Identifier: MIT
#include "support/catch.hpp"
#include "support/child.hpp"

using namespace tocsin::test;

TEST_CASE("SIGQUIT shows every thread, as often as it is asked to, and the program goes on", "[dump_on_demand]") {
    auto program = child::program({example("dump_on_demand")});
    REQUIRE(program.expect_line("ready"));
    for (int round = 0; round < 3; ++round) {
        REQUIRE(program.signal(SIGQUIT));
        REQUIRE(program.expect_error_line("tocsin: SIGQUIT sent by process " + std::to_string(::getpid())));
        REQUIRE(program.expect_error_line("which took the signal:"));
        REQUIRE(program.expect_error_line(" wait_for_customers()+0x"));
        REQUIRE(program.expect_error_line("\"clerk\":"));
        REQUIRE(program.expect_error_line(" wait_for_customers()+0x"));
        REQUIRE(program.expect_error_line("tocsin: end of report"));
    }
    REQUIRE(program.signal(SIGTERM));
    CHECK(program.wait().exited(0));
}
