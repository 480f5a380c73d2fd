// SPDX-License-Identifier: MIT
// Interprets the call frame instructions of an unwind table entry: where, at one address, the registers of
// the caller are.
//
// Runs in the handler. The result is a row of rules; nothing of the stack is read yet. Instructions that
// are not understood fail, saved rows are few and counted, there is no recursion. Source: DWARF 5 section
// 6.4.2; the GNU and AArch64 extensions are in the Linux Standard Base core specification and AADWARF64.
#pragma once

#include <tocsin/in_signal/dwarf_cursor.hpp>
#include <tocsin/in_signal/eh_frame.hpp>
#include <tocsin/in_signal/registers.hpp>

namespace tocsin::in_signal {

enum class rule : std::uint8_t {
    same,             // also of registers the table does not speak of
    undefined,        // lost; for the return address: there is no caller
    saved_at,         // in memory, `operand` bytes from the canonical frame address
    is_offset,        // is itself `operand` bytes from it
    in_register,      // in register `operand`
    saved_at_result,  // in memory where the expression at `operand` says
    is_result,        // is what that expression says
};

// How to find the caller of one address.
struct frame_row {
    std::uint64_t operand[machine::register_count];
    std::uint64_t cfa_offset;  // or the address of the expression
    static constexpr unsigned kinds_in_word = sizeof(std::uint64_t) / sizeof(rule);
    rule kind[(machine::register_count + kinds_in_word - 1) / kinds_in_word * kinds_in_word];
    std::uint8_t cfa_register;  // cfa_by_expression, or a number

    // Byte n, counted from the lowest: the kind of the rule for register `first` + n.
    std::uint64_t rules_from(unsigned first) const noexcept {
        std::uint64_t word;
        __builtin_memcpy(&word, kind + first, sizeof(word));
        return word;
    }
};

inline constexpr std::uint8_t cfa_by_expression = 0xff;
inline constexpr std::uint8_t cfa_unset = 0xfe;

class call_frame {
  public:
    // The row for `address`. False if the entry is malformed or not understood.
    bool row_for(frame_entry const& entry, std::uintptr_t address, careful_reader& tables, work& budget,
                 frame_row& row) noexcept {
        entry_ = &entry;
        row_ = &row;
        saved_ = 0;
        ok_ = true;
        if (!is_initial_of(entry)) last_ ^= 1;
        if (!is_initial_of(entry) && !run_shared(tables, budget)) return false;
        row = initial_[last_].row;
        location_ = entry.begin;
        target_ = address;
        run(dwarf_cursor{tables, budget, entry.own_code, entry.own_end});
        return ok_ && row.cfa_register != cfa_unset;
    }

  private:
    static constexpr unsigned most_saved = 4;  // compilers nest them one deep
    static constexpr unsigned longest_frequent = 3;

    bool is_initial_of(frame_entry const& entry) const noexcept {
        return initial_[last_].known && initial_[last_].code == entry.shared_code;
    }

    // What all entries begin with that share it. The last two are kept, as eh_frame keeps what they are from.
    bool run_shared(careful_reader& tables, work& budget) noexcept {
        *row_ = frame_row{};
        row_->cfa_register = cfa_unset;
        initial& start = initial_[last_];
        start.row = *row_;  // for a restore among the shared instructions, which makes no sense but must not hurt
        start.known = false;
        location_ = 0;
        target_ = ~std::uintptr_t{0};
        run(dwarf_cursor{tables, budget, entry_->shared_code, entry_->shared_end});
        if (!ok_) return false;
        saved_ = 0;
        start.row = *row_;
        start.code = entry_->shared_code;
        start.known = true;
        return true;
    }

    void run(dwarf_cursor code) noexcept {
        while (ok_ && code.more() && location_ <= target_) {
            run_frequent(code);
            if (code.more() && location_ <= target_) run_one(code);
        }
        ok_ = ok_ && code.ok();
    }

    // Up to the first instruction that is not among the most frequent ones, has long operands or does not lie in
    // memory that has been asked for. So nothing is checked of a byte, and all are paid at once.
    void run_frequent(dwarf_cursor& code) noexcept {
        frame_row& row = *row_;
        std::uint64_t const code_unit = entry_->code_unit;
        std::uint64_t const data_unit = factored(1);
        std::uintptr_t const target = target_;
        std::uintptr_t location = location_;
        std::uintptr_t at = code.at();
        // Instructions that begin before it end in the same page.
        std::uintptr_t const end = code.sure_end_of(longest_frequent);
        while (at < end && location <= target) {
            unsigned const instruction = careful_reader::load<std::uint8_t>(at);
            unsigned const operand = careful_reader::load<std::uint8_t>(at + 1);
            unsigned const low = instruction & 0x3f;
            if (instruction >> 6 == 1) {  // DW_CFA_advance_loc
                location += low * code_unit;
                at += 1;
            } else if (instruction >> 6 == 2) {  // offset
                if (operand >= 0x80) break;
                set(low, rule::saved_at, operand * data_unit);
                at += 2;
            } else if (instruction == 0x0e) {  // def_cfa_offset
                unsigned const second = careful_reader::load<std::uint8_t>(at + 2);
                if (operand >= 0x80 && second >= 0x80) break;
                row.cfa_offset = operand < 0x80 ? operand : (operand & 0x7f) | second << 7;
                at += operand < 0x80 ? 2 : 3;
            } else if (instruction == 0x02) {  // advance_loc1
                location += operand * code_unit;
                at += 2;
            } else if (instruction == 0x03) {  // advance_loc2
                location += careful_reader::load<std::uint16_t>(at + 1) * code_unit;
                at += 3;
            } else if (instruction == 0x0c || instruction == 0x0d) {  // def_cfa, def_cfa_register
                unsigned const second = careful_reader::load<std::uint8_t>(at + 2);
                if (operand >= machine::register_count || (instruction == 0x0c && second >= 0x80)) break;
                row.cfa_register = static_cast<std::uint8_t>(operand);
                if (instruction == 0x0c) row.cfa_offset = second;
                at += instruction == 0x0c ? 3 : 2;
            } else if (instruction == 0x0a || instruction == 0x0b) {  // remember_state, restore_state
                if (!of_row(static_cast<std::uint8_t>(instruction), code)) break;
                at += 1;
            } else if (instruction == 0) {  // nop
                at += 1;
            } else {
                break;
            }
        }
        location_ = location;
        code.pay_up_to(at);
    }

    void run_one(dwarf_cursor& code) noexcept {
        std::uint8_t const instruction = code.byte();
        std::uint8_t const low = instruction & 0x3f;
        switch (instruction >> 6) {
            case 1:
                location_ += low * entry_->code_unit;
                return;
            case 2:
                return set(low, rule::saved_at, factored(code.unsigned_leb()));
            case 3:
                return restore(low);
            default:
                if (!of_location(low, code) && !of_cfa(low, code) && !of_register(low, code) &&
                    !of_expression(low, code) && !of_row(low, code))
                    ok_ = false;
        }
    }

    // DW_CFA_nop, set_loc, advance_loc…, and MIPS_advance_loc8, which GCC can emit everywhere.
    bool of_location(std::uint8_t instruction, dwarf_cursor& code) noexcept {
        switch (instruction) {
            case 0x00:
                return true;
            case 0x01:
                location_ = code.pointer(entry_->encoding, 0);
                return true;
            case 0x02:
                location_ += code.byte() * entry_->code_unit;
                return true;
            case 0x03:
                location_ += code.take<std::uint16_t>() * entry_->code_unit;
                return true;
            case 0x04:
                location_ += code.take<std::uint32_t>() * entry_->code_unit;
                return true;
            case 0x1d:
                location_ += code.take<std::uint64_t>() * entry_->code_unit;
                return true;
            default:
                return false;
        }
    }

    // DW_CFA_def_cfa…
    bool of_cfa(std::uint8_t instruction, dwarf_cursor& code) noexcept {
        switch (instruction) {
            case 0x0c:
                set_cfa_register(code.unsigned_leb());
                row_->cfa_offset = code.unsigned_leb();
                return true;
            case 0x0d:
                set_cfa_register(code.unsigned_leb());
                return true;
            case 0x0e:
                row_->cfa_offset = code.unsigned_leb();
                return true;
            case 0x0f:
                row_->cfa_register = cfa_by_expression;
                row_->cfa_offset = block(code);
                return true;
            case 0x12:
                set_cfa_register(code.unsigned_leb());
                row_->cfa_offset = signed_factored(code.signed_leb());
                return true;
            case 0x13:
                row_->cfa_offset = signed_factored(code.signed_leb());
                return true;
            default:
                return false;
        }
    }

    // A register and how far from the frame address it is.
    bool of_register(std::uint8_t instruction, dwarf_cursor& code) noexcept {
        constexpr std::uint64_t one_operand = 1U << 0x06 | 1U << 0x07 | 1U << 0x08;
        constexpr std::uint64_t two_operands =
            1ULL << 0x05 | 1ULL << 0x09 | 1ULL << 0x11 | 1ULL << 0x14 | 1ULL << 0x15 | 1ULL << 0x2f;
        if (((one_operand | two_operands) >> instruction & 1U) == 0) return false;
        std::uint64_t const number = code.unsigned_leb();
        switch (instruction) {
            case 0x05:
                set(number, rule::saved_at, factored(code.unsigned_leb()));
                break;
            case 0x06:
                restore(number);
                break;
            case 0x07:
                set(number, rule::undefined, 0);
                break;
            case 0x08:
                set(number, rule::same, 0);
                break;
            case 0x09:
                set(number, rule::in_register, code.unsigned_leb());
                break;
            case 0x11:
                set(number, rule::saved_at, signed_factored(code.signed_leb()));
                break;
            case 0x14:
                set(number, rule::is_offset, factored(code.unsigned_leb()));
                break;
            case 0x15:
                set(number, rule::is_offset, signed_factored(code.signed_leb()));
                break;
            default:
                set(number, rule::saved_at, 0 - factored(code.unsigned_leb()));
                break;
        }
        return true;
    }

    // DW_CFA_expression and val_expression.
    bool of_expression(std::uint8_t instruction, dwarf_cursor& code) noexcept {
        if (instruction != 0x10 && instruction != 0x16) return false;
        std::uint64_t const number = code.unsigned_leb();
        set(number, instruction == 0x10 ? rule::saved_at_result : rule::is_result, block(code));
        return true;
    }

    // DW_CFA_remember_state, restore_state, and what says nothing about where registers are: GNU_args_size,
    // and the two AArch64 notes that the return address is signed, which is stripped in any case.
    bool of_row(std::uint8_t instruction, dwarf_cursor& code) noexcept {
        switch (instruction) {
            case 0x0a:
                if (saved_ == most_saved) return false;
                remembered_[saved_++] = *row_;
                return true;
            case 0x0b:
                if (saved_ == 0) return false;
                *row_ = remembered_[--saved_];
                return true;
            case 0x2c:
            case 0x2d:
                return true;
            case 0x2e:
                code.unsigned_leb();
                return true;
            default:
                return false;
        }
    }

    // Steps over an expression and gives the place where its length is told.
    static std::uintptr_t block(dwarf_cursor& code) noexcept {
        std::uintptr_t const at = code.at();
        code.skip(code.unsigned_leb());
        return at;
    }

    void set_cfa_register(std::uint64_t number) noexcept {
        ok_ = ok_ && number < machine::register_count;
        row_->cfa_register = static_cast<std::uint8_t>(number);
    }

    // Rules for vector and status registers are dropped.
    void set(std::uint64_t number, rule kind, std::uint64_t operand) noexcept {
        if (number >= machine::register_count) return;
        row_->kind[number] = kind;
        row_->operand[number] = operand;
    }

    void restore(std::uint64_t number) noexcept {
        if (number >= machine::register_count) return;
        set(number, initial_[last_].row.kind[number], initial_[last_].row.operand[number]);
    }

    std::uint64_t factored(std::uint64_t units) const noexcept {
        return units * static_cast<std::uint64_t>(entry_->data_unit);
    }
    std::uint64_t signed_factored(std::int64_t units) const noexcept {
        return factored(static_cast<std::uint64_t>(units));
    }

    frame_entry const* entry_ = nullptr;
    frame_row* row_ = nullptr;
    struct initial {
        frame_row row;        // once known
        std::uintptr_t code;  // the shared instructions that it comes from
        bool known = false;
    };
    initial initial_[2];
    unsigned last_ = 0;
    frame_row remembered_[most_saved];  // the first saved_ of them hold something
    std::uintptr_t location_ = 0;
    std::uintptr_t target_ = 0;
    unsigned saved_ = 0;
    bool ok_ = true;
};

}  // namespace tocsin::in_signal
