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
    static constexpr unsigned most_saved = 12;  // all that aarch64's functions keep for their callers
    static constexpr unsigned size = 2 + most_saved / 4;
    std::uint64_t words[size];

    bool outermost() const noexcept { return (words[0] >> 48 & 1) != 0; }
    // How far the address lies behind the first of its function.
    std::uintptr_t into_function() const noexcept { return words[0] >> 49; }
    unsigned cfa_register() const noexcept { return words[0] >> 32 & 0xff; }
    std::uintptr_t cfa_offset() const noexcept { return extended(static_cast<std::int32_t>(words[0])); }
    // Bit n: register n is saved, or lost. Neither speaks of the stack pointer, and `saved` not of the return address.
    std::uint32_t saved() const noexcept { return static_cast<std::uint32_t>(words[1]) & others; }
    std::uint32_t lost() const noexcept { return words[1] >> 32 & others; }
    // From the frame address to where it is saved: the return address is at place 0, and then come those of `saved`.
    std::uintptr_t offset(unsigned place) const noexcept {
        std::int16_t found;
        __builtin_memcpy(&found, reinterpret_cast<char const*>(words + 2) + place * sizeof(found), sizeof(found));
        return extended(found) * sizeof(std::uintptr_t);
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
        unsigned place = 0;
        if (!add(row.operand[back], place)) return false;
        for (unsigned i = 0; i < machine::register_count; ++i) {
            if (i == back || row.kind[i] == rule::same) continue;
            bool const saved = row.kind[i] == rule::saved_at;
            if (saved ? !add(row.operand[i], place) : row.kind[i] != rule::undefined) return false;
            words[1] |= std::uint64_t{1} << (saved ? i : i + 32);
        }
        words[0] = static_cast<std::uint32_t>(cfa) | std::uint64_t{row.cfa_register} << 32 |
                   std::uint64_t{1} << 40 | into_function << 49;
        return true;
    }

    bool leads_to_caller() const noexcept { return (words[0] >> 40 & 1) != 0; }

  private:
    static_assert(machine::register_count <= 32);
    static constexpr std::uint32_t others = (0xffff'ffff >> (32 - machine::register_count)) &
                                            ~(1U << machine::stack_register) & ~(1U << machine::return_register);

    static std::uintptr_t extended(std::int32_t number) noexcept {
        return static_cast<std::uintptr_t>(std::intptr_t{number});
    }

    bool add(std::uint64_t offset, unsigned& place) noexcept {
        auto const units = static_cast<std::int64_t>(offset) / 8;
        auto const stored = static_cast<std::int16_t>(units);
        if (place == most_saved || stored != units || offset % 8 != 0) return false;
        __builtin_memcpy(reinterpret_cast<char*>(words + 2) + place * sizeof(stored), &stored, sizeof(stored));
        ++place;
        return true;
    }
};

// From the registers of a frame to those of its caller. False, and nothing changed, if that does not lead to one.
// Rows lie in memory that anybody may have written to: whatever they say, only what is there is read and written.
inline bool to_caller(short_row const& row, registers& now, careful_reader& stack) noexcept {
    unsigned const base = row.cfa_register();
    if (!row.leads_to_caller() || !now.knows(base) || !now.knows(machine::stack_register)) return false;
    std::uintptr_t const cfa = now.value[base] + row.cfa_offset();
    std::uintptr_t back = 0;
    if (cfa <= now.sp() || !stack.read_near(cfa + row.offset(0), back)) return false;
    back = machine::without_signature(back);
    if (back == 0) return false;
    std::uintptr_t before[short_row::most_saved];
    unsigned place = 1;
    for (std::uint32_t left = row.saved(); left != 0; left &= left - 1, ++place) {
        auto const number = static_cast<unsigned>(__builtin_ctz(left));
        std::uintptr_t value = 0;
        if (place == short_row::most_saved || !stack.read_near(cfa + row.offset(place), value)) {
            left = row.saved();
            for (unsigned i = 1; i < place; ++i, left &= left - 1) now.value[__builtin_ctz(left)] = before[i];
            return false;
        }
        before[place] = now.value[number];
        now.value[number] = value;
    }
    now.known = (now.known | row.saved()) & ~row.lost();
    now.set(machine::stack_register, cfa);
    if (!machine::return_is_column) now.forget(machine::return_register);
    now.pc = back;
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
        place const* const first = places_ + place_of(address);
        for (unsigned i = 0; i < near_by; ++i)
            if (find_at(first[i], address, tag, to)) return true;
        return false;
    }

    void keep(std::uintptr_t address, std::uint64_t tag, short_row const& row) noexcept {
        if (short_row known; find(address, tag, known)) return;
        place* to = places_ + place_of(address);
        std::uint64_t const pass = pass_.load_relaxed() << 32;
        std::uint64_t version = to->version.load_relaxed();
        // One that nobody needs any more, and nobody was stopped in; or rows that meet in each walk would take it from
        // one another for ever.
        auto const in_use = [&]() noexcept {
            return version % 2 != 0 || (version >> 32 << 32 == pass && to->tag.load_relaxed() != 0);
        };
        for (unsigned i = 1; i < near_by && in_use(); ++i) version = (++to)->version.load_relaxed();
        if (version % 2 != 0 || !to->version.replace(version, version + 1)) return;
        to->address.store_release(address);
        to->tag.store_release(tag);
        for (unsigned i = 0; i < short_row::size; ++i) to->words[i].store_release(row.words[i]);
        to->version.store_release(pass | static_cast<std::uint32_t>(version + 2));
    }

  private:
    static constexpr unsigned bits = 9;
    static constexpr unsigned near_by = 4;  // places that a row may have
    static constexpr std::uint64_t multiplier = 0x9e37'79b9'7f4a'7c15;  // 2^64 divided by the golden ratio

    struct alignas(64) place {
        atomic<std::uint64_t> version;  // odd while it is written; the upper half is the pass
        atomic<std::uint64_t> address;
        atomic<std::uint64_t> tag;
        atomic<std::uint64_t> words[short_row::size];
    };

    static std::size_t place_of(std::uintptr_t address) noexcept {
        return (address * multiplier >> (64 - bits)) / near_by * near_by;
    }

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
