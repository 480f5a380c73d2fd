// SPDX-License-Identifier: MIT
#include <tocsin/in_signal/call_frame.hpp>
#include <tocsin/in_signal/eh_frame.hpp>

#include <elf.h>
#include <link.h>
#include <sys/mman.h>

#include <cstring>
#include <random>
#include <vector>

#include "support/catch.hpp"

using namespace tocsin::in_signal;

namespace {

// A copy of the object that holds `address`: its tables are relative, so they work anywhere.
struct copied_object {
    module_info real;
    module_info copy{};
    std::vector<unsigned char> bytes;

    explicit copied_object(void const* address) : real{module_of(reinterpret_cast<std::uintptr_t>(address))} {
        bytes.resize(real.end - real.begin);
        careful_reader memory;
        for (std::size_t at = 0; at + 4096 <= bytes.size(); at += 4096)
            memory.read_bytes(real.begin + at, bytes.data() + at, 4096);
        copy = real;
        copy.begin = reinterpret_cast<std::uintptr_t>(bytes.data());
        copy.end = copy.begin + bytes.size();
        copy.bias = real.bias + shift();
        if (real.eh_frame_hdr != 0) copy.eh_frame_hdr = real.eh_frame_hdr + shift();
    }
    std::uintptr_t shift() const { return copy.begin - real.begin; }
};

struct look_up {
    work budget{50'000'000};
    careful_reader memory;
    frame_entry entry{};
    frame_row row{};

    bool find(module_info const& module, std::uintptr_t address) {
        return eh_frame{budget}.find(module, address, entry) &&
               call_frame{}.row_for(entry, address, memory, budget, row);
    }
};

std::uintptr_t address_of(void (*function)()) { return reinterpret_cast<std::uintptr_t>(function); }

__attribute__((noinline)) void some_function() { __asm__ volatile(""); }

// Tables of many functions, small ones and some large, between two areas for their code: which of them is used varies.
struct large_object {
    static constexpr std::size_t area = std::size_t{1} << 21;
    static constexpr std::uint32_t functions = 6000;
    static constexpr std::size_t record_size = 24;
    static constexpr std::size_t tables = 4096 * 64;

    struct function {
        std::uintptr_t begin, end;
    };
    module_info module{};
    unsigned char* base;
    unsigned char* header = nullptr;
    std::vector<function> code;

    explicit large_object(bool in_front, std::uint32_t seed) {
        void* const all = ::mmap(nullptr, 2 * area + tables, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        base = static_cast<unsigned char*>(all);
        ::mprotect(base + area, tables, PROT_READ | PROT_WRITE);
        header = base + area + 4 * (seed % 1024);
        module.begin = reinterpret_cast<std::uintptr_t>(base);
        module.end = module.begin + 2 * area + tables;
        module.eh_frame_hdr = reinterpret_cast<std::uintptr_t>(header);
        module.path = "";
        module.found = true;
        std::mt19937_64 random{seed};
        std::uintptr_t at = module.begin + (in_front ? 16 : area + tables);
        for (std::uint32_t i = 0; i < functions; ++i) {
            std::uintptr_t const gap = random() % 64 == 0 ? random() % 4096 : random() % 3;
            std::uintptr_t const usual = i < functions / 2 ? 40 : 400;
            std::uintptr_t const size = 1 + random() % (random() % 512 == 0 ? 65536 : usual);
            code.push_back({at + gap, at + gap + size});
            at += gap + size;
        }
        write();
    }
    ~large_object() { ::munmap(base, 2 * area + tables); }
    large_object(large_object const&) = delete;
    large_object& operator=(large_object const&) = delete;

    static void put(unsigned char* to, std::int64_t number) {
        auto const small = static_cast<std::int32_t>(number);
        std::memcpy(to, &small, sizeof small);
    }
    std::int64_t distance(std::uintptr_t to, unsigned char const* from) const {
        return static_cast<std::int64_t>(to - reinterpret_cast<std::uintptr_t>(from));
    }
    // Three of them, told apart by the frame address.
    unsigned char* shared(std::uint32_t i) const { return header + 12 + 8 * functions + i % 3 * 20; }
    unsigned char* record(std::uint32_t i) const { return shared(2) + 20 + i * record_size; }
    static std::uint64_t frame_size(std::uint32_t i) { return 8 + i % 3 * 8; }

    void write() {
        unsigned char const start[] = {1, 0x1b, 0x03, 0x3b};
        std::memcpy(header, start, sizeof start);
        put(header + 4, shared(0) - (header + 4));
        put(header + 8, functions);
        unsigned char common[] = {16, 0, 0, 0, 0, 0, 0, 0, 1, 'z', 'R', 0, 1, 0x78,
                                  machine::return_register, 1, 0x1b, 0x0c, 7, 8};
        for (std::uint32_t i = 0; i < 3; ++i, common[19] += 8) {
            common[8] = i == 1 ? 3 : 1;  // versions that say the same
            std::memcpy(shared(i), common, sizeof common);
        }
        for (std::uint32_t i = 0; i < functions; ++i) {
            put(header + 12 + 8 * i, distance(code[i].begin, header));
            put(header + 16 + 8 * i, record(i) - header);
            put(record(i), record_size - 4);
            put(record(i) + 4, record(i) + 4 - shared(i));
            put(record(i) + 8, distance(code[i].begin, record(i) + 8));
            put(record(i) + 12, static_cast<std::int64_t>(code[i].end - code[i].begin));
        }
    }
};

}  // namespace

TEST_CASE("among many functions that of an address is found, with few questions", "[eh_frame]") {
    std::uint32_t const seed = GENERATE(1U, 2U, 1023U);
    bool const in_front = GENERATE(false, true);
    large_object const object{in_front, seed};
    look_up one;
    std::uint64_t spent = 0;
    for (std::uint32_t i = 0; i < large_object::functions; ++i) {
        auto const& function = object.code[i];
        for (std::uintptr_t const address : {function.begin, function.end - 1}) {
            std::uint64_t const before = one.budget.left;
            REQUIRE(one.find(object.module, address));
            REQUIRE(one.entry.begin == function.begin);
            REQUIRE(one.entry.end == function.end);
            REQUIRE(one.row.cfa_offset == large_object::frame_size(i));
            spent += before - one.budget.left;
        }
        if (i + 1 < large_object::functions && object.code[i + 1].begin != function.end)
            CHECK_FALSE(one.find(object.module, function.end));
    }
    CHECK_FALSE(one.find(object.module, object.code[0].begin - 1));
    CHECK_FALSE(one.find(object.module, object.code.back().end));
    // Each time anew: header, shared part and record, and of the twelve pages of the table fewer than by halving.
    if (seed < 1023) CHECK(spent / (2 * large_object::functions) < 640);
}

TEST_CASE("a header without a table that can be searched leads to the records", "[eh_frame]") {
    large_object const object{true, 9};
    SECTION("none at all") { std::memset(object.header + 2, 0xff, 2); }
    SECTION("of another kind") { object.header[3] = 0x1b; }
    SECTION("an empty one") { large_object::put(object.header + 8, 0); }
    std::uint32_t const functions[] = {0, 1, 2, 3000, large_object::functions - 1};
    for (std::uint32_t const i : functions) {
        look_up one;
        REQUIRE(one.find(object.module, object.code[i].begin));
        CHECK(one.entry.end == object.code[i].end);
        CHECK(one.row.cfa_offset == large_object::frame_size(i));
    }
    look_up none;
    object.header[0] = 2;
    CHECK_FALSE(none.find(object.module, object.code[0].begin));
    object.header[0] = 1;
    large_object::put(object.header + 8, large_object::area);
    if (object.header[3] == 0x3b) CHECK_FALSE(none.find(object.module, object.code[0].begin));
}

TEST_CASE("what is kept of shared parts is not taken for that of another", "[eh_frame]") {
    large_object const object{false, 5};
    work budget{50'000'000};
    eh_frame tables{budget};
    call_frame rules;
    std::mt19937 random{5};
    auto const any = [&random] { return static_cast<std::uint32_t>(random()) % large_object::functions; };
    std::uint32_t i = 0;
    for (int round = 0; round < 3000; ++round) {
        i = round % 7 == 0 ? any() : i % 3 == 0 ? i + 1 : i - 1;
        frame_entry entry{};
        frame_row row{};
        REQUIRE(tables.find(object.module, object.code[i].begin, entry));
        REQUIRE(rules.row_for(entry, object.code[i].begin, tables.memory(), budget, row));
        REQUIRE(row.cfa_offset == large_object::frame_size(i));
        REQUIRE(entry.code_unit == 1);
        REQUIRE(entry.data_unit == -8);
        REQUIRE(entry.return_column == machine::return_register);
        REQUIRE_FALSE(entry.signal_frame);
        REQUIRE(entry.shared_end - entry.shared_code == 3);
    }
}

TEST_CASE("tables of which parts are not there, or not in order, are survived", "[eh_frame]") {
    std::uint32_t const seed = GENERATE(1U, 2U, 3U, 4U);
    large_object object{seed % 2 == 0, seed};
    std::mt19937_64 random{seed};
    unsigned char* const begin = object.base + large_object::area;
    for (int round = 0; round < 200; ++round) {
        unsigned char* const page = begin + random() % (large_object::tables / 4096) * 4096;
        std::uint32_t const row = static_cast<std::uint32_t>(random()) % large_object::functions;
        if (seed < 3) ::mprotect(page, 4096, PROT_NONE);
        unsigned char* const in_row = object.header + 12 + 8 * row + round % 2 * 4;
        if (seed > 1) large_object::put(in_row, static_cast<std::int64_t>(random()));
        for (int i = 0; i < 20; ++i) {
            std::uintptr_t const address = object.code[random() % large_object::functions].begin;
            look_up any;
            if (any.find(object.module, address)) CHECK(any.entry.covers(address));
        }
        if (seed < 3) ::mprotect(page, 4096, PROT_READ | PROT_WRITE);
    }
}

TEST_CASE("the entry of a function covers it", "[eh_frame]") {
    look_up own;
    std::uintptr_t const begin = address_of(some_function);
    REQUIRE(own.find(module_of(begin), begin));
    CHECK(own.entry.begin == begin);
    CHECK(own.entry.covers(begin));
    CHECK_FALSE(own.entry.covers(own.entry.end));
    CHECK_FALSE(own.entry.signal_frame);
    CHECK(own.entry.return_column == machine::return_register);
    CHECK(own.row.cfa_register == machine::stack_register);
    CHECK(own.row.cfa_offset == (machine::call_moves_stack ? 8 : 0));
}

TEST_CASE("an object is read the same wherever it lies", "[eh_frame]") {
    copied_object const object{reinterpret_cast<void const*>(address_of(some_function))};
    look_up here;
    look_up there;
    std::uintptr_t const begin = address_of(some_function);
    REQUIRE(here.find(object.real, begin));
    REQUIRE(there.find(object.copy, begin + object.shift()));
    CHECK(there.entry.begin == begin + object.shift());
    CHECK(there.entry.end - there.entry.begin == here.entry.end - here.entry.begin);
}

TEST_CASE("a table without header is found and read to the same end", "[eh_frame]") {
    module_info module = module_of(address_of(some_function));
    look_up sorted;
    REQUIRE(sorted.find(module, address_of(some_function)));
    module.eh_frame_hdr = 0;
    look_up scanned;
    REQUIRE(scanned.find(module, address_of(some_function)));
    CHECK(scanned.entry.begin == sorted.entry.begin);
    CHECK(scanned.entry.end == sorted.entry.end);
    CHECK(scanned.entry.own_code == sorted.entry.own_code);
}

TEST_CASE("addresses outside any function have no entry", "[eh_frame]") {
    module_info const module = module_of(address_of(some_function));
    look_up none;
    CHECK_FALSE(none.find(module, module.begin));
    CHECK_FALSE(none.find(module, module.end));
    CHECK_FALSE(none.find(module, 0));
    CHECK_FALSE(none.find(module_info{}, address_of(some_function)));
}

TEST_CASE("a table without header is looked for only inside the object", "[eh_frame]") {
    alignas(4096) static unsigned char object[4096];
    ElfW(Ehdr) header{};
    for (unsigned i = 0; i < SELFMAG; ++i) header.e_ident[i] = static_cast<unsigned char>(ELFMAG[i]);
    header.e_phentsize = sizeof(ElfW(Phdr));
    header.e_phoff = sizeof header;
    header.e_phnum = 1;
    ElfW(Phdr) segment{};
    segment.p_type = PT_LOAD;
    segment.p_memsz = std::size_t{1} << 40;  // most of it is not there, and each page would be asked for
    std::memcpy(object, &header, sizeof header);
    std::memcpy(object + sizeof header, &segment, sizeof segment);
    auto const begin = reinterpret_cast<std::uintptr_t>(object);
    look_up none;
    CHECK_FALSE(none.find({begin, begin, begin + sizeof object, 0, "", true}, begin + 8));
    CHECK(none.budget.left > 990'000);
}

TEST_CASE("damaged tables are survived", "[eh_frame]") {
    std::mt19937_64 random{GENERATE(1U, 2U, 3U, 4U)};
    copied_object object{reinterpret_cast<void const*>(address_of(some_function))};
    std::size_t const header = object.copy.holds(object.copy.eh_frame_hdr)
                                   ? object.copy.eh_frame_hdr - object.copy.begin
                                   : object.bytes.size() / 2;
    std::size_t const extent = object.bytes.size() - header;
    bool const only_entries = (random() & 1) != 0;  // a damaged header hides all that is behind it
    std::size_t found = 0;
    int const rounds = object.copy.eh_frame_hdr != 0 ? 3000 : 50;  // without one, each reads all entries
    for (int round = 0; round < rounds; ++round) {
        for (int i = 0; i < 20; ++i) {
            std::size_t const at = header + (only_entries ? 12 : 0) + random() % (extent - 12);
            object.bytes[at] = static_cast<unsigned char>(random() >> (random() % 8));
        }
        look_up any;
        std::uintptr_t const address = object.copy.begin + random() % object.bytes.size();
        if (!any.find(object.copy, address)) continue;
        ++found;
        REQUIRE(any.entry.covers(address));
    }
    CHECK(found > 0);
}
