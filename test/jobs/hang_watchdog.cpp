// SPDX-License-Identifier: MIT
#include "support/catch.hpp"
#include "support/child.hpp"

using namespace tocsin::test;

TEST_CASE("a hang is reported once, with the function that hangs, and the program goes on", "[hang_watchdog]") {
    auto program = child::program({example("hang_watchdog")});
    auto const& end = program.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    auto const title = end.err.find("tocsin: watchdog: not fed for 200 ms");
    CHECK(title != std::string::npos);
    CHECK(end.err.find("tocsin: watchdog", title + 1) == std::string::npos);
    CHECK(end.err.find(" stuck_in_here()+0x") != std::string::npos);
    CHECK(end.out.find("the watchdog was not fed") != std::string::npos);
    CHECK(end.out.find("went on") != std::string::npos);
}
