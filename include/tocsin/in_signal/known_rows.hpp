// SPDX-License-Identifier: MIT
// Rows of unwind tables that walks have needed, for the next walk through the same functions: the threads of a program
// have most of their frames in common.
//
// Runs in the handler, in many threads at once: no lock, nobody waits. A place that is being written is as if it were
// empty; who is stopped there for ever costs that place. What a row was made from can be unloaded, and something else
// loaded there: so rows hold for one pass, as a report is, and every walk asks again which object is at an address. An
// object that takes the place of another in the midst of a pass and is laid out exactly like it, under the same record
// of the loader's, is mistaken for it; what follows from its rows is read with care, as always.
#pragma once

#include <tocsin/in_signal/atomic.hpp>
#include <tocsin/in_signal/call_frame.hpp>
#include <tocsin/in_signal/module.hpp>
#include <tocsin/in_signal/registers.hpp>

namespace tocsin::in_signal {

// What the row of an ordinary frame says, in 5 words: the frame address is a register and a number, the return address
// and others are saved beside it. Rows that say more are not made short.
class short_row {
  public:
    static constexpr unsigned most_rules = 16;
    static constexpr unsigned size = 1 + most_rules / 4;
    std::uint64_t words[size];

    bool outermost() const noexcept { return (words[0] >> 48 & 1) != 0; }
    // How far the address lies behind the first of its function.
    std::uintptr_t into_function() const noexcept { return words[0] >> 49; }
    unsigned cfa_register() const noexcept { return words[0] >> 32 & 0xff; }
    std::uintptr_t cfa_offset() const noexcept { return extended(static_cast<std::int32_t>(words[0])); }
    // Rule 0 is that of the return address.
    unsigned rules() const noexcept { return words[0] >> 40 & 0xff; }
    unsigned number(unsigned rule) const noexcept { return field(rule) & 31; }
    bool is_lost(unsigned rule) const noexcept { return (field(rule) >> 5) == lost; }
    // From the frame address to where it is saved.
    std::uintptr_t offset(unsigned rule) const noexcept {
        return extended(static_cast<std::int16_t>(field(rule)) >> 5) * sizeof(std::uintptr_t);
    }

    // False if the row does not fit.
    bool take(frame_row const& row, std::uintptr_t into_function) noexcept {
        if (into_function >> 15 != 0 && row.cfa_register == machine::frame_register) return false;
        constexpr unsigned back = machine::return_register;
        for (std::uint64_t& word : words) word = 0;
        if (row.kind[back] == rule::undefined) {
            words[0] = std::uint64_t{1} << 48;
            return true;
        }
        auto const cfa = static_cast<std::int32_t>(row.cfa_offset);
        if (row.cfa_register >= machine::register_count || extended(cfa) != row.cfa_offset) return false;
        if (row.kind[back] != rule::saved_at || row.kind[machine::stack_register] != rule::same) return false;
        unsigned count = 0;
        if (!add(row, back, count)) return false;
        for (unsigned i = 0; i < machine::register_count; ++i)
            if (i != back && row.kind[i] != rule::same && !add(row, i, count)) return false;
        words[0] = static_cast<std::uint32_t>(cfa) | std::uint64_t{row.cfa_register} << 32 |
                   std::uint64_t{count} << 40 | into_function << 49;
        return true;
    }

  private:
    static_assert(machine::register_count <= 32);
    static constexpr unsigned lost = 0x400;  // the lowest of 11 bits with a sign

    static std::uintptr_t extended(std::int32_t number) noexcept {
        return static_cast<std::uintptr_t>(std::intptr_t{number});
    }
    unsigned field(unsigned rule) const noexcept { return words[1 + rule / 4] >> rule % 4 * 16 & 0xffff; }

    bool add(frame_row const& row, unsigned number, unsigned& count) noexcept {
        auto const at = static_cast<std::int64_t>(row.operand[number]);
        bool const near = at > -8 * 0x400 && at < 8 * 0x400 && at % 8 == 0;
        bool const saved = row.kind[number] == rule::saved_at;
        if (count == most_rules || (saved ? !near : row.kind[number] != rule::undefined)) return false;
        std::uint64_t const offset = saved ? static_cast<std::uint64_t>(at / 8) & 0x7ff : lost;
        words[1 + count / 4] |= (offset << 5 | number) << count % 4 * 16;
        ++count;
        return true;
    }
};

// From the registers of a frame to those of its caller. False, and nothing changed, if that does not lead to one.
inline bool to_caller(short_row const& row, registers& now, careful_reader& stack) noexcept {
    unsigned const base = row.cfa_register();
    unsigned const rules = row.rules();
    if (rules == 0 || rules > short_row::most_rules || !now.knows(base) || !now.knows(machine::stack_register))
        return false;
    std::uintptr_t const cfa = now.value[base] + row.cfa_offset();
    if (cfa <= now.sp()) return false;
    std::uintptr_t saved[short_row::most_rules];
    for (unsigned i = 0; i < rules; ++i) {
        // None of take()'s are so; but it is memory that anybody may have written to.
        unsigned const number = row.number(i);
        if (number >= machine::register_count || number == machine::stack_register) return false;
        if (!row.is_lost(i) && !stack.read(cfa + row.offset(i), saved[i])) return false;
    }
    std::uintptr_t const pc = machine::without_signature(saved[0]);
    if (pc == 0) return false;
    now.set(machine::stack_register, cfa);
    for (unsigned i = 1; i < rules; ++i) {
        if (row.is_lost(i))
            now.forget(row.number(i));
        else
            now.set(row.number(i), saved[i]);
    }
    if (!machine::return_is_column) now.forget(machine::return_register);
    now.pc = pc;
    now.signal_frame = false;
    return true;
}

class known_rows {
  public:
    // Nothing that was kept before is found from here on.
    void begin_pass() noexcept { pass_.fetch_add(1); }

    // What rows of an object are kept under. A walk asks once which pass it is.
    std::uint64_t pass() const noexcept { return pass_.load_relaxed() * multiplier; }
    static std::uint64_t tag(std::uint64_t pass, object_place const& object) noexcept {
        return (pass ^ object.identity) | 1;  // never 0, which is how an unused place looks
    }

    bool find(std::uintptr_t address, std::uint64_t tag, short_row& to) const noexcept {
        std::size_t const first = place_of(address);
        return find_at(places_[first], address, tag, to) || find_at(places_[first ^ 1], address, tag, to);
    }

    void keep(std::uintptr_t address, std::uint64_t tag, short_row const& row) noexcept {
        std::size_t const first = place_of(address);
        if (short_row known; find(address, tag, known)) return;
        bool const taken = places_[first].tag.load_relaxed() == tag;
        place& to = places_[taken ? first ^ 1 : first];
        std::uint64_t const version = to.version.load_relaxed();
        if (version % 2 != 0 || !to.version.replace(version, version + 1)) return;
        to.address.store_release(address);
        to.tag.store_release(tag);
        for (unsigned i = 0; i < short_row::size; ++i) to.words[i].store_release(row.words[i]);
        to.version.store_release(version + 2);
    }

  private:
    static constexpr unsigned bits = 9;
    static constexpr std::uint64_t multiplier = 0x9e37'79b9'7f4a'7c15;  // 2^64 divided by the golden ratio

    struct alignas(64) place {
        atomic<std::uint64_t> version;  // odd while it is written
        atomic<std::uint64_t> address;
        atomic<std::uint64_t> tag;
        atomic<std::uint64_t> words[short_row::size];
    };

    static std::size_t place_of(std::uintptr_t address) noexcept { return address * multiplier >> (64 - bits); }

    // Each word is read after its writer has made the version odd, and the version once more after all of them.
    static bool find_at(place const& from, std::uintptr_t address, std::uint64_t tag, short_row& to) noexcept {
        std::uint64_t const version = from.version.load_acquire();
        if (from.address.load_acquire() != address || from.tag.load_acquire() != tag || version % 2 != 0) return false;
        for (unsigned i = 0; i < short_row::size; ++i) to.words[i] = from.words[i].load_acquire();
        return from.version.load_relaxed() == version;
    }

    atomic<std::uint64_t> pass_;
    place places_[std::size_t{1} << bits];
};

}  // namespace tocsin::in_signal
