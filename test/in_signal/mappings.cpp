// SPDX-License-Identifier: MIT
// Lines of /proc/self/maps.
#include <tocsin/in_signal/mappings.hpp>

#include <string>

#include "support/catch.hpp"

using namespace tocsin::in_signal;

namespace {
bool parsed(std::string const& text, mapping& to) { return parse_mapping(text.data(), text.size(), to); }
}  // namespace

TEST_CASE("a line of maps is taken apart", "[mappings]") {
    mapping one;
    REQUIRE(parsed("55d0c0a0-55d0c1b0 r-xp 00002000 08:01 4711   /usr/bin/with space", one));
    CHECK(one.begin == 0x55d0c0a0);
    CHECK(one.end == 0x55d0c1b0);
    CHECK(one.offset == 0x2000);
    CHECK((one.readable && !one.writable && one.executable && !one.anonymous));
    CHECK(std::string{one.path} == "/usr/bin/with space");
    mapping stack;
    REQUIRE(parsed("7ffc1000-7ffc3000 rw-p 00000000 00:00 0          [stack]", stack));
    CHECK((stack.writable && stack.anonymous));
    CHECK(std::string{stack.path} == "[stack]");
}

TEST_CASE("what is no line of maps is refused", "[mappings]") {
    mapping none;
    for (char const* text : {"", "-", "12", "12-", "12-34", "12-34 r-", "zz-34 r-xp 0 00:00 0", "12-34 r-xp  00:00 0"})
        CHECK_FALSE(parsed(text, none));
}

TEST_CASE("this function lies in a mapping that is executable and of a file", "[mappings]") {
    auto const here = reinterpret_cast<std::uintptr_t>(&parsed);
    bool found = false;
    REQUIRE(each_mapping([&](mapping const& each) noexcept {
        if (here < each.begin || here >= each.end) return false;
        found = each.executable && !each.anonymous && each.path[0] == '/';
        return true;
    }));
    CHECK(found);
}
