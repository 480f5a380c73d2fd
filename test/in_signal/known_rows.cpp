// SPDX-License-Identifier: MIT
#include <tocsin/in_signal/known_rows.hpp>

#include <tocsin/in_signal/unwind.hpp>

#include <signal.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <random>
#include <thread>

#include "support/catch.hpp"

using namespace tocsin::in_signal;

namespace {

constexpr unsigned back = machine::return_register;
constexpr unsigned base = machine::frame_register;

frame_row ordinary() {
    frame_row row{};
    row.cfa_register = base;
    row.cfa_offset = 16;
    row.kind[back] = rule::saved_at;
    row.operand[back] = static_cast<std::uint64_t>(-8);
    row.kind[base] = rule::saved_at;
    row.operand[base] = static_cast<std::uint64_t>(-16);
    return row;
}

struct walked {
    walk end{};
    frame frames[64];
};

// Frames of libc, of callers with and without a frame pointer, and of functions that call themselves.
walked plain, first, second;
known_rows* kept;

__attribute__((noinline)) void walk_thrice(registers const& from) {
    careful_reader memory;
    plain.end = unwind(from, plain.frames, 64, memory);
    kept->begin_pass();
    first.end = unwind(from, first.frames, 64, memory, kept);
    second.end = unwind(from, second.frames, 64, memory, kept);
}
int compare_and_walk(void const*, void const*) {
    if (plain.end.frames == 0) walk_thrice(here());
    return 0;
}
int volatile after;
__attribute__((noinline)) void descend(int depth) {
    int numbers[2] = {2, 1};
    auto* const room = static_cast<char volatile*>(__builtin_alloca(static_cast<std::size_t>(depth) * 16 + 16));
    *room = 1;
    if (depth != 0)
        descend(depth - 1);
    else
        std::qsort(numbers, 2, sizeof *numbers, compare_and_walk);
    after = *room;
}
void walk_in_handler(int, siginfo_t*, void* context) { walk_thrice(registers_of(*static_cast<ucontext_t*>(context))); }

void require_same_walks() {
    for (walked const* const each : {&first, &second}) {
        REQUIRE(each->end.frames == plain.end.frames);
        CHECK(each->end.ended == plain.end.ended);
        CHECK(each->end.guessed == plain.end.guessed);
        for (std::size_t i = 0; i < plain.end.frames; ++i) {
            CHECK(each->frames[i].pc == plain.frames[i].pc);
            CHECK(each->frames[i].exact == plain.frames[i].exact);
        }
    }
}

}  // namespace

TEST_CASE("a short row says what the row said", "[known_rows]") {
    frame_row row = ordinary();
    row.cfa_offset = static_cast<std::uint64_t>(-24);
    row.kind[1] = rule::undefined;
    row.kind[3] = rule::saved_at;
    row.operand[3] = 8 * 1023;
    short_row shorter;
    REQUIRE(shorter.take(row, 0x7fff));
    CHECK_FALSE(shorter.outermost());
    CHECK(shorter.into_function() == 0x7fff);
    CHECK(shorter.cfa_register() == base);
    CHECK(shorter.cfa_offset() == row.cfa_offset);
    CHECK(shorter.leads_to_caller());
    CHECK(shorter.saved() == (1U << 3 | 1U << base));
    CHECK(shorter.lost() == 1U << 1);
    CHECK(shorter.offset(0) == row.operand[back]);
    unsigned place = 1;
    for (unsigned i = 0; i < machine::register_count; ++i)
        if ((shorter.saved() >> i & 1) != 0) CHECK(shorter.offset(place++) == row.operand[i]);
    row.kind[back] = rule::undefined;
    REQUIRE(shorter.take(row, 0x7fff));
    CHECK(shorter.outermost());
    CHECK_FALSE(shorter.leads_to_caller());
}

TEST_CASE("a row that says more is not made short", "[known_rows]") {
    frame_row row = ordinary();
    short_row shorter;
    std::uintptr_t into_function = 1;
    SECTION("a frame address by expression") { row.cfa_register = cfa_by_expression; }
    SECTION("a frame address that is far away") { row.cfa_offset = std::uint64_t{1} << 31; }
    SECTION("a return address that is not saved") { row.kind[back] = rule::same; }
    SECTION("a stack pointer with a rule of its own") { row.kind[machine::stack_register] = rule::saved_at; }
    SECTION("a register in another one") { row.kind[base] = rule::in_register; }
    SECTION("a register that is a number") { row.kind[base] = rule::is_offset; }
    SECTION("an expression") { row.kind[base] = rule::saved_at_result; }
    SECTION("a place between two words") { row.operand[base] = 12; }
    SECTION("a place too far below") { row.operand[base] = static_cast<std::uint64_t>(-8 * 0x8001); }
    SECTION("a place too far above") { row.operand[base] = 8 * 0x8000; }
    SECTION("a frame pointer far into its function") { into_function = 0x8000; }
    SECTION("too many registers") {
        for (unsigned i = 0; i < machine::register_count; ++i)
            if (i != machine::stack_register) row.kind[i] = rule::saved_at;
    }
    CHECK_FALSE(shorter.take(row, into_function));
}

TEST_CASE("a walk by rows that are known is the same walk", "[known_rows]") {
    auto const rows = std::make_unique<known_rows>();
    kept = rows.get();
    plain.end = {};
    SECTION("through recursion and libc") {
        descend(9);
        CHECK(plain.end.frames > 12);
        require_same_walks();
    }
    SECTION("from a handler's context") {
        struct sigaction action {}, before {};
        action.sa_sigaction = walk_in_handler;
        action.sa_flags = SA_SIGINFO;
        ::sigaction(SIGUSR1, &action, &before);
        ::raise(SIGUSR1);
        ::sigaction(SIGUSR1, &before, nullptr);
        CHECK(plain.end.frames > 3);
        require_same_walks();
    }
}

TEST_CASE("a row is found for its address, object and pass alone", "[known_rows]") {
    auto const rows = std::make_unique<known_rows>();
    short_row row, found;
    REQUIRE(row.take(ordinary(), 0));
    object_place const object{4096, 8192, 77};
    auto const tag = [&] { return known_rows::tag(rows->pass(), object); };
    CHECK_FALSE(rows->find(0, tag(), found));
    CHECK_FALSE(rows->find(4097, tag(), found));
    rows->keep(4097, tag(), row);
    REQUIRE(rows->find(4097, tag(), found));
    CHECK(found.words[0] == row.words[0]);
    CHECK(found.words[1] == row.words[1]);
    CHECK_FALSE(rows->find(4098, tag(), found));
    CHECK_FALSE(rows->find(4097, known_rows::tag(rows->pass(), {4096, 8192, 78}), found));
    rows->begin_pass();
    CHECK_FALSE(rows->find(4097, tag(), found));
}

TEST_CASE("a step restores what is saved and forgets what is lost", "[known_rows]") {
    frame_row row = ordinary();
    row.kind[1] = rule::undefined;
    row.kind[3] = rule::saved_at;
    row.operand[3] = static_cast<std::uint64_t>(-24);
    short_row shorter;
    REQUIRE(shorter.take(row, 0));
    std::uintptr_t const stack[] = {33, 66, 99, 0};
    registers now{};
    now.set(1, 11);
    now.set(2, 22);
    now.set(base, reinterpret_cast<std::uintptr_t>(stack + 1));
    now.set(machine::stack_register, reinterpret_cast<std::uintptr_t>(stack));
    now.signal_frame = true;
    careful_reader memory;
    SECTION("of its caller") {
        REQUIRE(to_caller(shorter, now, memory));
        CHECK(now.pc == 99);
        CHECK(now.sp() == reinterpret_cast<std::uintptr_t>(stack + 3));
        CHECK(now.value[3] == 33);
        CHECK(now.value[base] == 66);
        CHECK(now.value[2] == 22);
        CHECK(now.known == (1U << 2 | 1U << 3 | 1U << base | 1U << machine::stack_register));
        CHECK_FALSE(now.signal_frame);
    }
    SECTION("or, where one of them is not there, nothing") {
        row.operand[base] = 8 * 0x7fff;
        row.cfa_offset = 16;
        auto* const page = static_cast<std::uintptr_t*>(
            ::mmap(nullptr, 65 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        ::mprotect(page + 512, 64 * 4096, PROT_NONE);
        page[0] = 33;
        page[1] = 66;
        page[2] = 99;
        now.set(base, reinterpret_cast<std::uintptr_t>(page + 1));
        now.set(machine::stack_register, reinterpret_cast<std::uintptr_t>(page));
        registers const before = now;
        REQUIRE(shorter.take(row, 0));
        CHECK_FALSE(to_caller(shorter, now, memory));
        CHECK(__builtin_memcmp(&now, &before, sizeof now) == 0);
        ::munmap(page, 65 * 4096);
    }
}

TEST_CASE("rows of all objects of a pass find room side by side", "[known_rows]") {
    auto const rows = std::make_unique<known_rows>();
    short_row row, found;
    REQUIRE(row.take(ordinary(), 0));
    std::uint64_t tags[2];
    for (int pass = 0; pass < 3; ++pass) {
        rows->begin_pass();
        for (std::uint64_t i = 0; i < 2; ++i) tags[i] = known_rows::tag(rows->pass(), {4096, 8192, 77 + i});
        for (std::uintptr_t address = 4096; address < 4096 + 64; ++address)
            for (auto const tag : tags) rows->keep(address, tag, row);
        for (std::uintptr_t address = 4096; address < 4096 + 64; ++address)
            for (auto const tag : tags) CHECK(rows->find(address, tag, found));
    }
}

TEST_CASE("who is stopped while it keeps a row costs that place alone", "[known_rows]") {
    auto const rows = std::make_unique<known_rows>();
    short_row row, found;
    REQUIRE(row.take(ordinary(), 0));
    std::uint64_t const tag = known_rows::tag(rows->pass(), {4096, 8192, 77});
    rows->keep(4097, tag, row);
    auto* const words = reinterpret_cast<std::uint64_t*>(rows.get());
    std::size_t at = 1;
    while (words[at] != 4097) ++at;
    words[at - 1] |= 1;  // the version
    CHECK_FALSE(rows->find(4097, tag, found));
    rows->keep(4097, tag, row);
    CHECK(rows->find(4097, tag, found));
    rows->begin_pass();
    std::uint64_t const next = known_rows::tag(rows->pass(), {4096, 8192, 77});
    rows->keep(4097, next, row);
    CHECK(rows->find(4097, next, found));
    CHECK(words[at - 1] % 2 == 1);
}

TEST_CASE("an object has the same number wherever in it one asks, and another has another", "[known_rows]") {
    careful_reader memory;
    auto const at = [&](void const* address) {
        return place_of_object(reinterpret_cast<std::uintptr_t>(address), memory);
    };
    int local = 0;
    auto const ours = at(reinterpret_cast<void const*>(&walk_in_handler));
    CHECK(ours.holds(reinterpret_cast<std::uintptr_t>(&walk_in_handler)));
    CHECK(ours.identity == at(reinterpret_cast<void const*>(&compare_and_walk)).identity);
    auto const stack = at(&local);
    CHECK_FALSE(stack.holds(reinterpret_cast<std::uintptr_t>(&local)));
    CHECK(ours.identity != stack.identity);
}

TEST_CASE("a row that is being replaced is found whole or not at all", "[known_rows]") {
    auto const rows = std::make_unique<known_rows>();
    std::atomic<bool> stop{false};
    auto const write = [&](std::uint64_t of) {
        short_row row;
        for (std::uint64_t& word : row.words) word = of;
        // Tags of their own, so that each replaces the other's.
        while (!stop) {
            rows->keep(4096, of, row);
            for (int i = 0; i < 50 && !stop; ++i) continue;  // so that there is something to find
        }
    };
    std::thread one{write, 1}, other{write, 3};
    std::size_t seen = 0;
    bool whole = true;
    for (std::size_t i = 0; i < 10'000'000 || (seen == 0 && i < 500'000'000); ++i) {
        short_row found;
        std::uint64_t const tag = i % 2 == 0 ? 1 : 3;
        if (!rows->find(4096, tag, found)) continue;
        ++seen;
        for (std::uint64_t const word : found.words) whole = whole && word == tag;
    }
    stop = true;
    one.join();
    other.join();
    CHECK(whole);
    CHECK(seen > 0);
}

TEST_CASE("whatever a row says, a step reads nothing that is not there", "[known_rows]") {
    std::mt19937_64 random{1};
    careful_reader memory;
    std::uintptr_t stack[64];
    for (auto& each : stack) each = random();
    for (int i = 0; i < 200'000; ++i) {
        short_row row;
        for (std::uint64_t& word : row.words) word = random();
        if (i % 2 == 0) row.words[0] = (random() & 0x011f'0000'0078) | 8;
        registers now{};
        for (unsigned n = 0; n < machine::register_count; ++n)
            if (random() % 4 != 0) now.set(n, random() % 2 != 0 ? reinterpret_cast<std::uintptr_t>(stack) : random());
        registers const before = now;
        if (to_caller(row, now, memory)) {
            CHECK(now.sp() > before.sp());
            CHECK(now.pc != 0);
        } else {
            CHECK(__builtin_memcmp(&now, &before, sizeof now) == 0);
        }
    }
}
