// SPDX-License-Identifier: MIT
#include <tocsin/in_signal/call_frame.hpp>
#include <tocsin/in_signal/eh_frame.hpp>

#include <elf.h>
#include <link.h>

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

}  // namespace

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
