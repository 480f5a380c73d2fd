// SPDX-License-Identifier: MIT
// Fuzz target: unwind tables and the stack they are applied to.
//
// The input is a `setup`, the bytes of a loaded object with its tables, and those of a stack, both at fixed
// addresses so that one can speak of the other.
#include <tocsin/in_signal/unwind.hpp>

#include <dlfcn.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "must.hpp"

using namespace tocsin::in_signal;
using fuzz::must;

namespace {

constexpr std::uintptr_t object_at = 0x2000'0000'0000;
constexpr std::uintptr_t stack_at = 0x2000'0010'0000;
constexpr std::size_t object_room = 16384;
constexpr std::size_t stack_room = 4096;

struct setup {
    std::uint16_t header;                         // of .eh_frame_hdr in the object; 0: none
    std::uint16_t pc;                             // in the object
    std::uint16_t object_size;                    // of what follows; the rest is the stack
    std::uint8_t flags;                           // 1: pc is exact
    std::uint8_t known;                           // registers; the stack pointer always is
    std::uint8_t value[machine::register_count];  // in words of the stack
};

module_info the_object{};
elf::link the_link{};

void map_at(std::uintptr_t address, std::size_t size) {
    void* const at = reinterpret_cast<void*>(address);
    void* const got =
        ::mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    must(got == at, "the fixed addresses are free");
}

}  // namespace

// Stands in front of libc's, which is asked about all other addresses.
int tocsin::in_signal::detail::find_object(void* address, found_object* found) noexcept {
    static auto* const real =
        reinterpret_cast<int (*)(void*, found_object*)>(::dlsym(RTLD_NEXT, "_dl_find_object"));
    if (!the_object.holds(reinterpret_cast<std::uintptr_t>(address)))
        return real != nullptr ? real(address, found) : -1;
    found->map_start = reinterpret_cast<void*>(the_object.begin);
    found->map_end = reinterpret_cast<void*>(the_object.end);
    found->link = &the_link;
    found->eh_frame = reinterpret_cast<void*>(the_object.eh_frame_hdr);
    return 0;
}

namespace {

registers registers_in(setup const& from) {
    registers start{};
    for (unsigned i = 0; i < machine::register_count; ++i)
        if (i != machine::return_register || !machine::return_is_column)
            start.set(i, stack_at + 8 * std::uintptr_t{from.value[i]});
    for (unsigned i = 0; i < 8; ++i)
        if ((from.known >> i & 1) == 0) start.forget(i);
    start.set(machine::stack_register, stack_at + 8 * std::uintptr_t{from.value[machine::stack_register]});
    start.pc = object_at + from.pc;
    start.signal_frame = (from.flags & 1) != 0;
    return start;
}

// The tables alone: what is found covers the address, and the rules are ones that exist.
void look_up(registers const& start) {
    work budget{100'000};
    eh_frame tables{budget};
    frame_entry entry{};
    careful_reader memory;
    frame_row row{};
    for (std::uintptr_t pc : {start.pc, start.pc + 1, the_object.begin, the_object.end - 1}) {
        if (!tables.find(the_object, pc, entry)) continue;
        must(entry.covers(pc), "an entry covers the address");
        must(entry.own_code <= entry.own_end && entry.own_end <= the_object.end,
             "instructions lie in the object");
        must(entry.shared_code <= entry.shared_end && entry.shared_end <= the_object.end, "shared ones too");
        if (!call_frame{}.row_for(entry, pc, memory, budget, row)) continue;
        must(row.cfa_register < machine::register_count || row.cfa_register == cfa_by_expression,
             "a register");
        for (rule const one : row.kind) must(one <= rule::is_result, "a rule");
    }
    // The object once more, as an expression.
    std::uintptr_t result = 0;
    dwarf_expression{start, memory}.run({memory, budget, the_object.begin, the_object.end}, result);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    static bool const mapped = (map_at(object_at, object_room), map_at(stack_at, stack_room), true);
    setup from{};
    if (!mapped || size < sizeof from) return 0;
    std::memcpy(&from, data, sizeof from);
    data += sizeof from;
    size -= sizeof from;
    std::size_t const object_size = std::min(std::size_t{from.object_size}, std::min(size, object_room));
    if (object_size == 0 || size - object_size > stack_room) return 0;
    std::memset(reinterpret_cast<void*>(object_at), 0, object_room);
    std::memset(reinterpret_cast<void*>(stack_at), 0, stack_room);
    std::memcpy(reinterpret_cast<void*>(object_at), data, object_size);
    std::memcpy(reinterpret_cast<void*>(stack_at), data + object_size, size - object_size);
    std::uintptr_t const header = from.header != 0 ? object_at + from.header : 0;
    the_object = {object_at, object_at, object_at + object_size, header, "", true};
    the_link.l_addr = object_at;
    registers const start = registers_in(from);
    look_up(start);
    static frame frames[64];
    careful_reader stack;
    walk const done = unwind(start, frames, 64, stack);
    must(done.frames <= 64, "no more frames than there is room for");
    must(done.frames >= 1 && frames[0].pc == start.pc, "the walk begins where it was told to");
    // By rows that are kept, and then by those rows.
    static known_rows rows;
    static frame again[64];
    rows.begin_pass();
    for (int i = 0; i < 2; ++i) {
        walk const same = unwind(start, again, 64, stack, &rows);
        must(same.frames == done.frames && same.ended == done.ended && same.omitted == done.omitted, "the same walk");
        for (std::size_t n = 0; n < done.frames; ++n) must(again[n].pc == frames[n].pc, "the same frames");
    }
    return 0;
}
