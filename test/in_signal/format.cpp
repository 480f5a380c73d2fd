// SPDX-License-Identifier: MIT
#include <tocsin/in_signal/format.hpp>

#include <limits>
#include <string>
#include <string_view>

#include "support/catch.hpp"

using tocsin::in_signal::fixed_line;
using tocsin::in_signal::line;

namespace {

std::string text_of(line const& from) { return {from.data(), from.size()}; }

}  // namespace

TEST_CASE("decimal numbers are written at every extreme", "[format]") {
    fixed_line<128> out;
    CHECK(text_of(out.decimal(0)) == "0");
    CHECK(text_of(out.clear().decimal(std::numeric_limits<std::int64_t>::min())) == "-9223372036854775808");
    CHECK(text_of(out.clear().decimal(std::numeric_limits<std::uint64_t>::max())) == "18446744073709551615");
    CHECK(text_of(out.clear().decimal(static_cast<signed char>(-128))) == "-128");
    CHECK(text_of(out.clear().decimal(7, 4).decimal(-7, 4).decimal(12345, 2)) == "   7  -712345");
}

TEST_CASE("hexadecimal numbers have as few digits as they need or as many as asked", "[format]") {
    fixed_line<128> out;
    CHECK(text_of(out.hexadecimal(0)) == "0x0");
    CHECK(text_of(out.clear().hexadecimal(0xdeadbeefU)) == "0xdeadbeef");
    CHECK(text_of(out.clear().hexadecimal(0x1f, 4)) == "0x001f");
    CHECK(text_of(out.clear().address(0x7f00)) == "0x0000000000007f00");
    CHECK(text_of(out.clear().address(~std::uint64_t{0})) == "0xffffffffffffffff");
    unsigned char const id[] = {0x00, 0xab, 0x7f};
    CHECK(text_of(out.clear().bytes(id, 3)) == "00ab7f");
}

TEST_CASE("columns are filled with spaces and never shortened", "[format]") {
    fixed_line<64> out;
    CHECK(text_of(out.text("ab").pad_to(5).text("c").pad_to(3)) == "ab   c");
}

TEST_CASE("untrusted text is printable ASCII without quotes and backslashes, whatever byte it holds",
          "[format]") {
    for (int byte = 0; byte < 256; ++byte) {
        char const c = static_cast<char>(byte);
        fixed_line<64> out;
        std::string const shown = text_of(out.escaped(&c, 1));
        CAPTURE(byte, shown);
        bool const kept = byte >= ' ' && byte <= '~' && c != '"' && c != '\\';
        if (kept) {
            CHECK(shown == std::string(1, c));
        } else {
            REQUIRE(shown.size() == 4);
            CHECK(shown.substr(0, 2) == "\\x");
            CHECK(std::stoi(shown.substr(2), nullptr, 16) == byte);
        }
    }
}

TEST_CASE("untrusted text ends at its limit with a mark and never inside an escape", "[format]") {
    fixed_line<1024> out;
    std::string const name(1'000'000, 'n');
    CHECK(text_of(out.escaped(name.data(), name.size(), 10)) == "nnnnnnnnnn...");
    CHECK(text_of(out.clear().escaped("ab\n\n", 4, 7)) == "ab\\x0a...");
    CHECK(text_of(out.clear().escaped("abcd", 4, 4)) == "abcd");
    CHECK(out.clear().escaped(name.c_str()).size() == tocsin::in_signal::longest_name + 3);
    CHECK_FALSE(out.cut());
    CHECK(text_of(out.clear().quoted("a\"b")) == "\"a\\x22b\"");
    CHECK(text_of(out.clear().escaped(nullptr)).empty());
}

TEST_CASE("a JSON string holds every byte so that it can be read back", "[format]") {
    for (int byte = 0; byte < 256; ++byte) {
        char const c = static_cast<char>(byte);
        fixed_line<64> out;
        std::string shown = text_of(out.json(&c, 1));
        CAPTURE(byte, shown);
        REQUIRE(shown.size() >= 3);
        CHECK(shown.front() == '"');
        CHECK(shown.back() == '"');
        shown = shown.substr(1, shown.size() - 2);
        for (char const one : shown) CHECK((one >= ' ' && one <= '~'));
        if (shown.substr(0, 2) == "\\u")
            CHECK(std::stoi(shown.substr(2), nullptr, 16) == byte);
        else
            CHECK(shown.back() == c);
    }
}

TEST_CASE("a line that is full is cut, says so and still ends", "[format]") {
    fixed_line<16> out;
    out.text("0123456789abcdefgh").decimal(42).text("x");
    CHECK(out.cut());
    CHECK(text_of(out.end()) == "0123456789ab...\n");
    out.clear().text("0123456789ab");
    CHECK_FALSE(out.cut());
    CHECK(text_of(out.end()) == "0123456789ab\n");
}

TEST_CASE("what comes after a cut is left out, so that no two parts are glued together", "[format]") {
    fixed_line<16> out;
    out.text("0123456789").escaped("\n", 1).text("z");
    CHECK(out.cut());
    CHECK(text_of(out.end()) == "0123456789...\n");
}

TEST_CASE("no byte is written outside the memory of a line, however small it is", "[format]") {
    for (std::size_t capacity = 0; capacity <= 24; ++capacity) {
        std::string memory(capacity + 16, '#');
        line out{memory.data() + 8, capacity};
        out.text("name ").escaped("\x1b[2J", 4).json("\"\n", 2).decimal(-1).address(1).fill(9).end().end();
        CAPTURE(capacity);
        CHECK(out.size() <= capacity);
        CHECK(memory.substr(0, 8) == "########");
        CHECK(memory.substr(capacity + 8) == "########");
    }
}
