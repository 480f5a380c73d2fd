// SPDX-License-Identifier: MIT
#include <tocsin/in_signal/names.hpp>

#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace tocsin::in_signal;

[[gnu::noinline]] int named_function(int x) { return x + 1; }
[[gnu::noinline]] static int other_function(int x) { return x + 2; }

// A function of 1 KiB that is never called: nobody's library is asked how much of it has names.
__asm__(
    ".pushsection .text\n.globl tocsin_long_function\n.type tocsin_long_function, %function\n"
    "tocsin_long_function:\n.skip 1024\n.size tocsin_long_function, . - tocsin_long_function\n.popsection\n");
extern "C" char const tocsin_long_function[];

namespace {

std::uintptr_t address_of(int (*function)(int)) { return reinterpret_cast<std::uintptr_t>(function); }
std::uintptr_t address_of_libc() { return reinterpret_cast<std::uintptr_t>(&::getppid); }

std::unique_ptr<name_book> new_book() {
    auto book = std::make_unique<name_book>();
    book->clear(0);
    return book;
}

std::string name_of(name_book const& book, std::uintptr_t address) {
    named_address const* const found = book.find(address);
    return found != nullptr && found->name != nullptr ? std::string{found->name, found->name_size} : "";
}

}  // namespace

TEST_CASE("frames are named with function, offset and object", "[names]") {
    auto const book = new_book();
    frame const frames[] = {{address_of(named_function), true}, {address_of(other_function) + 3, true},
                            {address_of_libc(), true}};
    book->learn(frames, 3);
    CHECK(name_of(*book, address_of(named_function)) == "named_function(int)");
    CHECK(book->find(address_of(named_function))->offset == 0);
    CHECK(std::string{book->find(address_of(named_function))->module}.empty());
    CHECK(name_of(*book, address_of(other_function) + 3) == "other_function(int)");
    CHECK(book->find(address_of(other_function) + 3)->offset == 3);
    CHECK(name_of(*book, address_of_libc()).find("getppid") != std::string::npos);
    CHECK(std::string{book->find(address_of_libc())->module}.find("libc") != std::string::npos);
}

TEST_CASE("a return address is looked up as the call before it", "[names]") {
    auto const book = new_book();
    // the first byte behind the function, where a call that does not return leads
    frame const back{address_of(named_function) + 1, false};
    CHECK(name_book::instruction(back) == address_of(named_function));
    CHECK(name_book::instruction({back.pc, true}) == back.pc);
    book->learn(&back, 1);
    CHECK(name_of(*book, address_of(named_function)) == "named_function(int)");
}

TEST_CASE("an address in no object is known to be in none, the null address too", "[names]") {
    auto const book = new_book();
    int on_stack = 0;
    frame const frames[] = {{reinterpret_cast<std::uintptr_t>(&on_stack), true}, {1, true}, {0, true}, {0, false}};
    book->learn(frames, 4);
    named_address const* const found = book->find(frames[0].pc);
    REQUIRE(found != nullptr);
    CHECK(found->name == nullptr);
    CHECK(found->module == nullptr);
    CHECK(book->find(0) == nullptr);
    CHECK(book->find(1)->module == nullptr);
}

TEST_CASE("what was learnt before is forgotten", "[names]") {
    auto const book = new_book();
    frame const one{address_of(named_function), true};
    book->learn(&one, 1);
    CHECK(book->find(one.pc) != nullptr);
    book->clear(0);
    CHECK(book->find(one.pc) == nullptr);
}

TEST_CASE("more addresses than there are places are left without a name, and end", "[names]") {
    auto const book = new_book();
    std::vector<frame> frames;
    for (std::uintptr_t i = 0; i < 3 * name_book::places; ++i) frames.push_back({0x10000 + i * 64, true});
    std::size_t known = 0;
    for (std::size_t i = 0; i < frames.size(); i += 64) book->learn(&frames[i], 64);
    for (frame const& each : frames) known += book->find(each.pc) != nullptr ? 1U : 0U;
    CHECK(known > name_book::places / 2);
    CHECK(known < name_book::places);
    // and nothing of them is left behind for the address that a call of null shows
    book->clear(0);
    CHECK(book->find(0) == nullptr);
}

TEST_CASE("a stack of more frames than are named at once is named all the same", "[names]") {
    auto const book = new_book();
    std::vector<frame> frames;
    auto const begin = reinterpret_cast<std::uintptr_t>(tocsin_long_function);
    for (std::uintptr_t i = 0; i < 600; ++i) frames.push_back({begin + i, true});
    book->learn(frames.data(), frames.size());
    std::size_t named = 0;
    for (frame const& each : frames) named += name_of(*book, each.pc) == "tocsin_long_function" ? 1U : 0U;
    CHECK(named == frames.size());
}

TEST_CASE("after the deadline addresses have an object and no name", "[names]") {
    auto const book = std::make_unique<name_book>();
    book->clear(1);
    frame const one{address_of(named_function), true};
    book->learn(&one, 1);
    REQUIRE(book->find(one.pc) != nullptr);
    CHECK(book->find(one.pc)->name == nullptr);
    CHECK(book->find(one.pc)->module != nullptr);
}
