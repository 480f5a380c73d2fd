// SPDX-License-Identifier: MIT
#include <tocsin/in_signal/dwarf_expression.hpp>

#include <optional>
#include <random>
#include <vector>

#include "support/catch.hpp"

using namespace tocsin::in_signal;

namespace {

std::uint64_t const in_memory[] = {0x1122'3344'5566'7788, 42};

// Register 3 points to in_memory, register 5 is unknown.
std::optional<std::uint64_t> run(std::vector<unsigned char> const& code,
                                 std::optional<std::uint64_t> first = {}) {
    registers from = registers_at(0x5000, 0x7000);
    from.set(3, reinterpret_cast<std::uintptr_t>(in_memory));
    careful_reader tables;
    careful_reader stack;
    work budget{10'000};
    auto const at = reinterpret_cast<std::uintptr_t>(code.data());
    dwarf_expression expression{from, stack};
    if (first) expression.push(*first);
    std::uintptr_t result = 0;
    if (!expression.run(dwarf_cursor{tables, budget, at, at + code.size()}, result)) return {};
    return result;
}

std::uint64_t minus(std::uint64_t value) { return 0 - value; }

}  // namespace

TEST_CASE("constants are read in every size", "[dwarf_expression]") {
    CHECK(run({0x30}) == 0U);
    CHECK(run({0x4f}) == 31U);
    CHECK(run({0x08, 0xff}) == 255U);
    CHECK(run({0x09, 0xff}) == minus(1));
    CHECK(run({0x0a, 0xff, 0xff}) == 0xffffU);
    CHECK(run({0x0b, 0xfe, 0xff}) == minus(2));
    CHECK(run({0x0c, 0, 0, 0, 0x80}) == 0x8000'0000U);
    CHECK(run({0x0d, 0, 0, 0, 0x80}) == 0xffff'ffff'8000'0000U);
    CHECK(run({0x0e, 1, 0, 0, 0, 0, 0, 0, 0x80}) == 0x8000'0000'0000'0001U);
    CHECK(run({0x10, 0xe5, 0x8e, 0x26}) == 624485U);
    CHECK(run({0x11, 0x80, 0x7f}) == minus(128));
}

TEST_CASE("arithmetic follows the standard", "[dwarf_expression]") {
    struct sample {
        unsigned char operation;
        std::uint64_t left, right, result;
    };
    for (sample const& one : {sample{0x1a, 12, 10, 8},
                              sample{0x1b, minus(7), 2, minus(3)},
                              sample{0x1c, 3, 5, minus(2)},
                              sample{0x1d, 17, 5, 2},
                              sample{0x1e, 6, 7, 42},
                              sample{0x21, 12, 10, 14},
                              sample{0x22, 40, 2, 42},
                              sample{0x24, 1, 4, 16},
                              sample{0x24, 1, 64, 0},
                              sample{0x25, minus(1), 60, 15},
                              sample{0x26, minus(16), 2, minus(4)},
                              sample{0x26, minus(16), 99, minus(1)},
                              sample{0x27, 12, 10, 6},
                              sample{0x1b, 1ULL << 63, minus(1), 1ULL << 63},
                              sample{0x29, 3, 3, 1},
                              sample{0x2a, minus(1), 1, 0},
                              sample{0x2b, 2, 1, 1},
                              sample{0x2c, minus(1), 1, 1},
                              sample{0x2d, 1, 1, 0},
                              sample{0x2e, 1, 1, 0}}) {
        std::vector<unsigned char> code;
        for (std::uint64_t value : {one.left, one.right}) {
            code.push_back(0x0e);
            for (int i = 0; i < 8; ++i) code.push_back(static_cast<unsigned char>(value >> (8 * i)));
        }
        code.push_back(one.operation);
        INFO("operation " << int{one.operation});
        CHECK(run(code) == one.result);
    }
    CHECK(run({0x09, 0xfb, 0x19}) == 5U);
    CHECK(run({0x35, 0x1f}) == minus(5));
    CHECK(run({0x30, 0x20}) == minus(1));
    CHECK(run({0x32, 0x23, 0x28}) == 42U);
}

TEST_CASE("values are moved about", "[dwarf_expression]") {
    CHECK(run({0x31, 0x12, 0x22}) == 2U);           // dup
    CHECK(run({0x31, 0x32, 0x13}) == 1U);           // drop
    CHECK(run({0x31, 0x32, 0x14}) == 1U);           // over
    CHECK(run({0x31, 0x32, 0x33, 0x15, 2}) == 1U);  // pick
    CHECK(run({0x31, 0x32, 0x16}) == 1U);           // swap
    CHECK(run({0x31, 0x32, 0x33, 0x17}) == 2U);     // rot: the top sinks to third
    CHECK(run({0x31, 0x32, 0x33, 0x17, 0x13, 0x13}) == 3U);
    CHECK(run({0x23, 0x02}, 40) == 42U);
}

TEST_CASE("registers and memory are read", "[dwarf_expression]") {
    CHECK(run({0x70 + machine::stack_register, 0x10}) == 0x7010U);
    CHECK(run({0x92, machine::stack_register, 0x78}) == 0x6ff8U);
    CHECK(run({0x73, 0x08, 0x06}) == 42U);
    CHECK(run({0x73, 0x00, 0x94, 4}) == 0x5566'7788U);
}

TEST_CASE("branches go both ways", "[dwarf_expression]") {
    CHECK(run({0x31, 0x28, 1, 0, 0x32, 0x33}) == 3U);              // taken over lit2
    CHECK(run({0x30, 0x28, 2, 0, 0x32, 0x2f, 0, 0}) == 2U);        // not taken
    CHECK(run({0x35, 0x31, 0x1c, 0x12, 0x28, 0xfa, 0xff}) == 0U);  // counts down from 5
}

TEST_CASE("what cannot be computed has no result", "[dwarf_expression]") {
    CHECK_FALSE(run({}));
    CHECK_FALSE(run({0x22}));              // nothing to add
    CHECK_FALSE(run({0x31, 0x30, 0x1b}));  // by zero
    CHECK_FALSE(run({0x31, 0x30, 0x1d}));
    CHECK_FALSE(run({0x75, 0}));              // unknown register
    CHECK_FALSE(run({0x92, 0xff, 0x7f, 0}));  // no such register
    CHECK_FALSE(run({0x31, 0x06}));           // address 1
    CHECK_FALSE(run({0x73, 0, 0x94, 9}));     // 9 bytes
    CHECK_FALSE(run({0x2f, 0xfd, 0xff}));     // for ever
    CHECK_FALSE(run({0x31, 0x2f, 0x10, 0}));  // out of the program
    CHECK_FALSE(run({0x31, 0x2f, 0xf0, 0xff}));
    CHECK_FALSE(run({0x0e, 1, 2}));  // cut off
    CHECK_FALSE(run({0xff}));
    CHECK_FALSE(run(std::vector<unsigned char>(100, 0x31)));  // too many values
}

TEST_CASE("random expressions end", "[dwarf_expression]") {
    std::mt19937_64 random{11};
    int results = 0;
    for (int round = 0; round < 20'000; ++round) {
        std::vector<unsigned char> code(random() % 24);
        for (auto& byte : code) byte = static_cast<unsigned char>(random() % 0x98);
        results += run(code, random()) ? 1 : 0;
    }
    CHECK(results > 0);
}

TEST_CASE("what may ask the kernel each time is dear", "[dwarf_expression]") {
    // A budget of 10,000 steps: reads of memory that somebody else chose, and jumps.
    for (std::vector<unsigned char> const& one :
         {std::vector<unsigned char>{0x73, 0, 0x06, 0x13}, std::vector<unsigned char>{0x2f, 0, 0}}) {
        std::vector<unsigned char> few;
        for (int i = 0; i < 50; ++i) few.insert(few.end(), one.begin(), one.end());
        std::vector<unsigned char> many = few;
        many.insert(many.end(), few.begin(), few.end());
        few.push_back(0x35);
        many.push_back(0x35);
        CHECK(run(few) == 5U);
        CHECK_FALSE(run(many));
    }
}
