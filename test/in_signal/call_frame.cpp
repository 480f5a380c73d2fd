// SPDX-License-Identifier: MIT
#include <tocsin/in_signal/call_frame.hpp>

#include <sys/mman.h>

#include <initializer_list>
#include <random>
#include <vector>

#include "support/catch.hpp"

using namespace tocsin::in_signal;

namespace {

constexpr std::uintptr_t function = 0x1000;

struct program {
    std::vector<unsigned char> shared, own;
    frame_row row{};

    frame_entry entry() const {
        frame_entry made{};
        made.begin = function;
        made.end = function + 0x100;
        made.code_unit = 1;
        made.data_unit = -8;
        made.shared_code = reinterpret_cast<std::uintptr_t>(shared.data());
        made.shared_end = made.shared_code + shared.size();
        made.own_code = reinterpret_cast<std::uintptr_t>(own.data());
        made.own_end = made.own_code + own.size();
        return made;
    }

    bool run(std::uintptr_t offset) {
        careful_reader memory;
        work budget{10'000};
        return call_frame{}.row_for(entry(), function + offset, memory, budget, row);
    }
};

std::uint64_t below(std::uint64_t bytes) { return 0 - bytes; }

}  // namespace

TEST_CASE("the row is the one in force at the address", "[call_frame]") {
    // def_cfa r7, 8; offset r3 at cfa-8
    // advance 4; def_cfa_offset 16; offset r6 at cfa-16; advance 4; def_cfa_register r6
    program code{{0x0c, 7, 8, 0x83, 1}, {0x44, 0x0e, 16, 0x86, 2, 0x44, 0x0d, 6}};
    REQUIRE(code.run(0));
    CHECK(code.row.cfa_register == 7);
    CHECK(code.row.cfa_offset == 8);
    CHECK(code.row.kind[6] == rule::same);
    REQUIRE(code.run(3));
    CHECK(code.row.cfa_offset == 8);
    REQUIRE(code.run(4));
    CHECK(code.row.cfa_offset == 16);
    CHECK(code.row.kind[6] == rule::saved_at);
    CHECK(code.row.operand[6] == below(16));
    REQUIRE(code.run(8));
    CHECK(code.row.cfa_register == 6);
    CHECK(code.row.cfa_offset == 16);
    CHECK(code.row.operand[3] == below(8));
}

TEST_CASE("a remembered row comes back whole", "[call_frame]") {
    // remember; def_cfa_offset 32; offset r3 at cfa-24; undefined r6; advance 1; restore; advance 1;
    // undefined r6; advance 1; restore r6 to the shared rule
    program code{{0x0c, 7, 8, 0x86, 1},
                 {0x0a, 0x0e, 32, 0x83, 3, 0x07, 6, 0x41, 0x0b, 0x41, 0x07, 6, 0x41, 0xc6}};
    REQUIRE(code.run(0));
    CHECK(code.row.cfa_offset == 32);
    CHECK(code.row.kind[6] == rule::undefined);
    REQUIRE(code.run(1));
    CHECK(code.row.cfa_offset == 8);
    CHECK(code.row.kind[3] == rule::same);
    CHECK(code.row.kind[6] == rule::saved_at);
    REQUIRE(code.run(2));
    CHECK(code.row.kind[6] == rule::undefined);
    REQUIRE(code.run(3));
    CHECK(code.row.kind[6] == rule::saved_at);
}

TEST_CASE("rules of every kind are told apart", "[call_frame]") {
    program code{{0x0c, 7, 8}, {0x09, 1,  2,                 // register r1 is r2
                                0x14, 3,  2,                 // val_offset r3 is cfa-16
                                0x15, 4,  0x7f,              // val_offset_sf r4 is cfa+8
                                0x11, 5,  0x7e,              // offset_extended_sf r5 at cfa+16
                                0x2f, 6,  3,                 // GNU negative_offset_extended r6 at cfa+24
                                0x10, 8,  1,    0x9c,        // expression
                                0x16, 9,  2,    0x23, 0x01,  // val_expression
                                0x07, 10, 0x2d, 0x2e, 16}};
    REQUIRE(code.run(0));
    CHECK(code.row.kind[1] == rule::in_register);
    CHECK(code.row.operand[1] == 2);
    CHECK(code.row.kind[3] == rule::is_offset);
    CHECK(code.row.operand[3] == below(16));
    CHECK(code.row.operand[4] == 8);
    CHECK(code.row.operand[5] == 16);
    CHECK(code.row.operand[6] == 24);
    CHECK(code.row.kind[8] == rule::saved_at_result);
    CHECK(code.row.kind[9] == rule::is_result);
    CHECK(code.row.kind[10] == rule::undefined);
}

TEST_CASE("programs that make no sense give no row", "[call_frame]") {
    CHECK_FALSE(program{{}, {}}.run(0));                                              // no frame address
    CHECK_FALSE(program{{0x0c, 7, 8}, {0x0b}}.run(0));                                // nothing remembered
    CHECK_FALSE(program{{0x0c, 7, 8}, {0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a}}.run(0));  // too much remembered
    CHECK_FALSE(program{{0x0c, 7, 8}, {0x3f}}.run(0));                                // unknown
    CHECK_FALSE(program{{0x0c, 7, 8}, {0x0e}}.run(0));                                // cut off
    CHECK_FALSE(program{{0x0c, 7, 8}, {0, 0, 0x02}}.run(0));                          // and so
    CHECK_FALSE(program{{0x0c, 99, 8}, {}}.run(0));                                   // register too high
    CHECK_FALSE(program{{0x0c, 7, 8}, {0x0f, 0x7f, 0x30}}.run(0));                    // expression too long
}

TEST_CASE("a program says the same in long and in short instructions, wherever it lies", "[call_frame]") {
    auto* const pages = static_cast<unsigned char*>(
        ::mmap(nullptr, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ::mprotect(pages + 2 * 4096, 4096, PROT_NONE);
    std::mt19937_64 random{11};
    auto const add = [](std::vector<unsigned char>& to, std::initializer_list<std::uint64_t> bytes) {
        for (auto const each : bytes) to.push_back(static_cast<unsigned char>(each));
    };
    careful_reader memory;
    for (int round = 0; round < 5'000; ++round) {
        program code{{0x0c, 7, 8, 0x90, 1}, {}};
        std::vector<unsigned char> brief;
        unsigned remembered = 0;
        for (auto left = random() % 24; left != 0; --left) {
            std::uint64_t const number = random() % machine::register_count;
            std::uint64_t const small = random() % 0x80;
            std::uint64_t const large = random() % 0x4000;
            switch (random() % 9) {
                case 0:
                    add(code.own, {0x04, small & 0x3f, 0, 0, 0});
                    add(brief, {0x40 | (small & 0x3f)});
                    break;
                case 1:
                    add(code.own, {0x04, small, 0, 0, 0});
                    add(brief, {0x02, small});
                    break;
                case 2:
                    add(code.own, {0x04, small, small & 1, 0, 0});
                    add(brief, {0x03, small, small & 1});
                    break;
                case 3:
                    add(code.own, {0x05, number, small | 0x80, 0});
                    add(brief, {0x80 | number, small});
                    break;
                case 4:
                    add(code.own, {0x0e, small | 0x80, 0x80, 0});
                    add(brief, {0x0e, small});
                    break;
                case 5:
                    add(code.own, {0x0e, large | 0x80, large >> 7 | 0x80, 0});
                    add(brief, {0x0e, large | 0x80, large >> 7});
                    break;
                case 6:
                    add(code.own, {0x0c, number | 0x80, 0x80, 0, small | 0x80, 0});
                    add(brief, {0x0c, number, small});
                    break;
                case 7:
                    add(code.own, {0x0d, number | 0x80, 0x80, 0, 0});
                    add(brief, {0x0d, number});
                    break;
                default:
                    unsigned const which = remembered == 0 || (random() % 2 == 0 && remembered < 4) ? 0x0a : 0x0b;
                    remembered = which == 0x0a ? remembered + 1 : remembered - 1;
                    add(code.own, {which, 0});
                    add(brief, {which});
            }
        }
        auto const offset = static_cast<std::uintptr_t>(random() % 512);
        REQUIRE(code.run(offset));
        auto const at_end = reinterpret_cast<std::uintptr_t>(pages + 2 * 4096);
        auto const over_border = reinterpret_cast<std::uintptr_t>(pages + 4096) + random() % (brief.size() + 1);
        for (std::uintptr_t const end : {at_end, over_border}) {
            std::uintptr_t const begin = end - brief.size();
            for (std::size_t i = 0; i < brief.size(); ++i) reinterpret_cast<unsigned char*>(begin)[i] = brief[i];
            frame_row row{};
            frame_entry entry = code.entry();
            entry.own_code = begin;
            entry.own_end = end;
            work budget{10'000};
            if (round % 2 == 0) memory.forget();
            REQUIRE(call_frame{}.row_for(entry, function + offset, memory, budget, row));
            CHECK(budget.left < 10'000);
            CHECK(row.cfa_register == code.row.cfa_register);
            CHECK(row.cfa_offset == code.row.cfa_offset);
            for (unsigned i = 0; i < machine::register_count; ++i) {
                CHECK(row.kind[i] == code.row.kind[i]);
                CHECK(row.operand[i] == code.row.operand[i]);
            }
        }
    }
    ::munmap(pages, 3 * 4096);
}

TEST_CASE("random programs end", "[call_frame]") {
    std::mt19937_64 random{7};
    int rows = 0;
    for (int round = 0; round < 20'000; ++round) {
        program code{{0x0c, 7, 8}, std::vector<unsigned char>(random() % 64)};
        for (auto& byte : code.own) byte = static_cast<unsigned char>(random());
        rows += code.run(random() % 256) ? 1 : 0;
    }
    CHECK(rows > 0);
}
