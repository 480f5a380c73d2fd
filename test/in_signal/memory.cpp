// SPDX-License-Identifier: MIT
#include <tocsin/in_signal/memory.hpp>

#include <sys/mman.h>

#include <cstring>

#include "support/catch.hpp"

using tocsin::in_signal::careful_reader;
using tocsin::in_signal::readable;

namespace {

constexpr std::size_t page_size = 4096;

// Three pages, the one in the middle as asked for.
class three_pages {
  public:
    explicit three_pages(int protection) {
        void* const memory = ::mmap(nullptr, 3 * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        begin = static_cast<char*>(memory);
        for (std::size_t i = 0; i < 3 * page_size; ++i) begin[i] = static_cast<char>(i % 251);
        ::mprotect(begin + page_size, page_size, protection);
    }
    ~three_pages() { ::munmap(begin, 3 * page_size); }
    three_pages(three_pages const&) = delete;
    three_pages& operator=(three_pages const&) = delete;

    std::uintptr_t at(std::size_t offset) const { return reinterpret_cast<std::uintptr_t>(begin) + offset; }

    char* begin;
};

}  // namespace

TEST_CASE("mapped memory is readable, and what may not be read is not", "[memory]") {
    three_pages const none{PROT_NONE};
    CHECK(readable(none.at(0)));
    CHECK(readable(none.at(page_size - 1)));
    CHECK_FALSE(readable(none.at(page_size)));
    CHECK_FALSE(readable(none.at(2 * page_size - 1)));
    CHECK(readable(none.at(2 * page_size)));
    CHECK_FALSE(readable(0));
    CHECK_FALSE(readable(8));
    CHECK_FALSE(readable(0x123456789000));
    CHECK_FALSE(readable(0xdead000000000000));
    CHECK_FALSE(readable(~std::uintptr_t{0}));
}

TEST_CASE("a value is read from any alignment, also over the border of two pages", "[memory]") {
    three_pages const all{PROT_READ};
    careful_reader memory;
    for (std::size_t const offset : {std::size_t{0}, std::size_t{1}, page_size - 3, 2 * page_size - 7}) {
        std::uint64_t value = 0;
        std::uint64_t expected = 0;
        std::memcpy(&expected, all.begin + offset, sizeof expected);
        REQUIRE(memory.read(all.at(offset), value));
        CHECK(value == expected);
    }
}

TEST_CASE("a value that is not there in full is not read, and the target untouched", "[memory]") {
    three_pages const none{PROT_NONE};
    careful_reader memory;
    std::uint64_t value = 42;
    CHECK(memory.read(none.at(page_size - 8), value));
    value = 42;
    CHECK_FALSE(memory.read(none.at(page_size - 7), value));
    CHECK_FALSE(memory.read(none.at(page_size), value));
    CHECK_FALSE(memory.read(none.at(2 * page_size - 1), value));
    CHECK_FALSE(memory.read(0, value));
    CHECK_FALSE(memory.read(~std::uintptr_t{0} - 3, value));
    CHECK(value == 42);
}

TEST_CASE("a block over many pages is read if each of them can be", "[memory]") {
    three_pages const all{PROT_READ};
    three_pages const hole{PROT_NONE};
    careful_reader memory;
    static char copy[3 * page_size];
    REQUIRE(memory.read_bytes(all.at(0), copy, sizeof copy));
    CHECK(std::memcmp(copy, all.begin, sizeof copy) == 0);
    copy[0] = 'x';
    CHECK_FALSE(memory.read_bytes(hole.at(0), copy, sizeof copy));
    CHECK(copy[0] == 'x');
    CHECK(memory.read_bytes(0, copy, 0));
}

TEST_CASE("what a reader remembers of a page it forgets when told to", "[memory]") {
    three_pages const page{PROT_READ};
    careful_reader memory;
    char value = 0;
    CHECK(memory.read(page.at(page_size), value));
    ::mprotect(page.begin + page_size, page_size, PROT_NONE);
    memory.forget();
    CHECK_FALSE(memory.read(page.at(page_size), value));
}

TEST_CASE("of pages in a row each is asked for once, and none that is not there is read", "[memory]") {
    three_pages const all{PROT_READ};
    three_pages const hole{PROT_NONE};
    tocsin::in_signal::work given{3 * tocsin::in_signal::work_of_question};
    careful_reader memory{given};
    std::uintptr_t value = 0;
    for (std::size_t at = 0; at + sizeof value <= 3 * page_size; ++at) {
        std::uintptr_t expected = 0;
        std::memcpy(&expected, all.begin + at, sizeof expected);
        REQUIRE(memory.read_near(all.at(at), value));
        REQUIRE(value == expected);
    }
    CHECK(given.left == 0);
    given.left = 10 * tocsin::in_signal::work_of_question;
    value = 42;
    CHECK(memory.read_near(hole.at(page_size - 8), value));
    value = 42;
    for (std::size_t at = page_size - 7; at < 2 * page_size; at += page_size / 8) {
        CHECK_FALSE(memory.read_near(hole.at(at), value));
        given.left = 10 * tocsin::in_signal::work_of_question;
    }
    CHECK_FALSE(memory.read_near(0, value));
    CHECK_FALSE(memory.read_near(~std::uintptr_t{0} - 6, value));
    CHECK_FALSE(memory.read_near(~std::uintptr_t{0} - 7, value));
    CHECK(value == 42);
    CHECK(memory.read_near(hole.at(2 * page_size), value));
    CHECK(memory.read_near(all.at(2 * page_size), value));
    CHECK(memory.read_near(all.at(page_size), value));
    ::mprotect(all.begin + page_size, page_size, PROT_NONE);
    memory.forget();
    CHECK_FALSE(memory.read_near(all.at(page_size), value));
}

TEST_CASE("what is taken for granted is not asked for", "[memory]") {
    tocsin::in_signal::work nothing{0};
    careful_reader memory{nothing};
    std::uintptr_t volatile here = 77;
    auto const address = reinterpret_cast<std::uintptr_t>(&here);
    std::uintptr_t value = 0;
    CHECK_FALSE(memory.read(address, value));
    memory.take_for_granted(address);
    CHECK(memory.read(address, value));
    CHECK(value == 77);
    CHECK_FALSE(memory.read(address + 2 * page_size, value));
}

TEST_CASE("every size is copied from and to every alignment, and not a byte more", "[memory]") {
    three_pages const all{PROT_READ};
    careful_reader memory;
    for (std::size_t from = 0; from < 9; ++from)
        for (std::size_t to = 0; to < 9; ++to)
            for (std::size_t size = 0; size < 40; ++size) {
                char copy[64];
                char expected[64];
                std::memset(copy, 'x', sizeof copy);
                std::memset(expected, 'x', sizeof expected);
                std::memcpy(expected + to, all.begin + page_size - 12 + from, size);
                REQUIRE(memory.read_bytes(all.at(page_size - 12 + from), copy + to, size));
                REQUIRE(std::memcmp(copy, expected, sizeof copy) == 0);
            }
}

TEST_CASE("a reader whose questions are paid for asks no more than was given", "[memory]") {
    three_pages const all{PROT_READ};
    tocsin::in_signal::work given{2 * tocsin::in_signal::work_of_question};
    careful_reader memory{given};
    char value = 0;
    CHECK(memory.read(all.at(0), value));
    CHECK(memory.read(all.at(8), value));  // known
    CHECK(memory.read(all.at(page_size), value));
    CHECK_FALSE(memory.read(all.at(2 * page_size), value));
    CHECK(memory.read(all.at(0), value));
    given.left = tocsin::in_signal::work_of_question - 1;
    CHECK_FALSE(memory.read(all.at(2 * page_size), value));
    CHECK(given.left == 0);
}
