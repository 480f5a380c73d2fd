// SPDX-License-Identifier: MIT
#include "support/catch.hpp"
#include "support/child.hpp"

using namespace tocsin::test;

TEST_CASE("a crash on a worker shows the faulting function first and dies of its signal", "[crash_dump]") {
    auto program = child::program({example("crash_dump")});
    auto const& end = program.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(end.out.find("not reached") == std::string::npos);
    auto const title = end.err.find("tocsin: SIGSEGV (address not mapped) at 0x0000000000000000");
    auto const worker = end.err.find("\"worker\", where it happened:\n  #0 ");
    auto const store = end.err.find(" store(int*)+0x");
    auto const work = end.err.find(" work(int*)+0x");
    auto const main = end.err.find(" main+0x");
    REQUIRE(title != std::string::npos);
    REQUIRE(worker != std::string::npos);
    CHECK(title < worker);
    CHECK(worker < store);
    CHECK(store < work);
    CHECK(work < main);
    CHECK(main != std::string::npos);
    CHECK(end.err.find("tocsin: end of report") != std::string::npos);
}
