// SPDX-License-Identifier: MIT
// Computes the DWARF expressions by which unwind tables say where a register was saved.
//
// Runs in the handler. Signal return trampolines, procedure tables and functions that realign their stack
// need them. The stack is small and fixed, loops end with the walk's budget, registers that are not known
// make the result unknown, and what is not understood fails. Source: DWARF 5, section 2.5 and 6.4.2; the
// operations that 6.4.2 forbids here fail.
#pragma once

#include <tocsin/in_signal/dwarf_cursor.hpp>
#include <tocsin/in_signal/registers.hpp>

namespace tocsin::in_signal {

class dwarf_expression {
  public:
    dwarf_expression(registers const& from, careful_reader& stack) noexcept : from_{from}, stack_{stack} {}

    void push(std::uint64_t value) noexcept {
        if (depth_ == most_values)
            ok_ = false;
        else
            value_[depth_++] = value;
    }

    // Runs what `code` holds; the top of the stack is the result. False if there is none.
    bool run(dwarf_cursor code, std::uintptr_t& result) noexcept {
        std::uintptr_t const begin = code.at();
        while (ok_ && code.more()) {
            std::uint8_t const operation = code.byte();
            if (operation == 0x28 || operation == 0x2f)
                jump(operation, begin, code);
            else if (!constant(operation, code) && !of_register(operation, code) &&
                     !of_stack(operation, code) && !arithmetic(operation))
                ok_ = false;
        }
        ok_ = ok_ && code.ok() && depth_ > 0;
        if (ok_) result = value_[depth_ - 1];
        return ok_;
    }

  private:
    static constexpr unsigned most_values = 24;

    std::uint64_t pop() noexcept {
        if (depth_ == 0) {
            ok_ = false;
            return 0;
        }
        return value_[--depth_];
    }

    std::uint64_t peek(std::uint64_t below) noexcept {
        if (below >= depth_) {
            ok_ = false;
            return 0;
        }
        return value_[depth_ - 1 - below];
    }

    // DW_OP_bra and DW_OP_skip.
    void jump(std::uint8_t operation, std::uintptr_t begin, dwarf_cursor& code) noexcept {
        std::intptr_t const distance = code.take<std::int16_t>();
        if (operation == 0x28 && pop() == 0) return;
        if (!code.budget().spend(work_of_question)) ok_ = false;  // may lead to another page each time
        std::uintptr_t const to = code.at() + static_cast<std::uintptr_t>(distance);
        if (to < begin || to > code.end() || !code.ok())
            ok_ = false;
        else
            code.move_to(to);
    }

    // DW_OP_addr, DW_OP_const… and DW_OP_lit…
    bool constant(std::uint8_t operation, dwarf_cursor& code) noexcept {
        if (operation >= 0x30 && operation <= 0x4f) {
            push(operation - 0x30U);
            return true;
        }
        switch (operation) {
            case 0x03:
            case 0x0e:
            case 0x0f:
                push(code.take<std::uint64_t>());
                return true;
            case 0x08:
                push(code.byte());
                return true;
            case 0x09:
                push_signed(code.take<std::int8_t>());
                return true;
            case 0x0a:
                push(code.take<std::uint16_t>());
                return true;
            case 0x0b:
                push_signed(code.take<std::int16_t>());
                return true;
            case 0x0c:
                push(code.take<std::uint32_t>());
                return true;
            case 0x0d:
                push_signed(code.take<std::int32_t>());
                return true;
            case 0x10:
                push(code.unsigned_leb());
                return true;
            case 0x11:
                push_signed(code.signed_leb());
                return true;
            default:
                return false;
        }
    }

    void push_signed(std::int64_t value) noexcept { push(static_cast<std::uint64_t>(value)); }

    // DW_OP_breg…, DW_OP_bregx, and DW_OP_reg…, which GCC's unwinder takes for the register's value.
    bool of_register(std::uint8_t operation, dwarf_cursor& code) noexcept {
        if (operation >= 0x70 && operation <= 0x8f) {
            push_register(operation - 0x70U, code.signed_leb());
        } else if (operation == 0x92) {
            std::uint64_t const number = code.unsigned_leb();
            push_register(number, code.signed_leb());
        } else if (operation >= 0x50 && operation <= 0x6f) {
            push_register(operation - 0x50U, 0);
        } else if (operation == 0x90) {
            push_register(code.unsigned_leb(), 0);
        } else {
            return false;
        }
        return true;
    }

    void push_register(std::uint64_t number, std::int64_t offset) noexcept {
        std::uintptr_t value = 0;
        ok_ = ok_ && from_.look_up(number, value);
        push(value + static_cast<std::uint64_t>(offset));
    }

    // Operations that move or load values.
    bool of_stack(std::uint8_t operation, dwarf_cursor& code) noexcept {
        switch (operation) {
            case 0x06:
                dereference(8, code.budget());
                return true;
            case 0x94:
                dereference(code.byte(), code.budget());
                return true;
            case 0x12:
                push(peek(0));
                return true;
            case 0x13:
                pop();
                return true;
            case 0x14:
                push(peek(1));
                return true;
            case 0x15:
                push(peek(code.byte()));
                return true;
            case 0x16:
                rotate(2);
                return true;
            case 0x17:
                rotate(3);
                return true;
            case 0x23:
                push(pop() + code.unsigned_leb());
                return true;
            case 0x96:
                return true;
            default:
                return false;
        }
    }

    void dereference(unsigned bytes, work& budget) noexcept {
        std::uintptr_t const address = pop();
        std::uint64_t value = 0;  // both machines are little-endian
        if (!ok_ || !budget.spend(work_of_question) || bytes == 0 || bytes > sizeof(value) ||
            !stack_.read_bytes(address, &value, bytes))
            ok_ = false;
        else
            push(value);
    }

    // The top value sinks below `count` - 1 others.
    void rotate(unsigned count) noexcept {
        if (depth_ < count) {
            ok_ = false;
            return;
        }
        std::uint64_t const top = value_[depth_ - 1];
        for (unsigned i = 1; i < count; ++i) value_[depth_ - i] = value_[depth_ - i - 1];
        value_[depth_ - count] = top;
    }

    bool arithmetic(std::uint8_t operation) noexcept {
        switch (operation) {
            case 0x19: {
                std::uint64_t const value = pop();
                push(as_signed(value) < 0 ? 0 - value : value);
                return true;
            }
            case 0x1f:
                push(0 - pop());
                return true;
            case 0x20:
                push(~pop());
                return true;
            default:
                break;
        }
        bool const known =
            (operation >= 0x1a && operation <= 0x27) || (operation >= 0x29 && operation <= 0x2e);
        if (!known) return false;
        std::uint64_t const right = pop();
        std::uint64_t const left = pop();
        push(operation < 0x28 ? combined(operation, left, right) : compared(operation, left, right));
        return true;
    }

    static std::int64_t as_signed(std::uint64_t value) noexcept { return static_cast<std::int64_t>(value); }

    std::uint64_t combined(std::uint8_t operation, std::uint64_t left, std::uint64_t right) noexcept {
        switch (operation) {
            case 0x1a:
                return left & right;
            case 0x1b:
                return divided(left, right);
            case 0x1c:
                return left - right;
            case 0x1d:
                return right != 0 ? left % right : divided(left, right);
            case 0x1e:
                return left * right;
            case 0x21:
                return left | right;
            case 0x22:
                return left + right;
            case 0x24:
                return right < 64 ? left << right : 0;
            case 0x25:
                return right < 64 ? left >> right : 0;
            case 0x26:
                return static_cast<std::uint64_t>(as_signed(left) >> (right < 64 ? right : 63));
            default:
                return left ^ right;
        }
    }

    std::uint64_t divided(std::uint64_t left, std::uint64_t right) noexcept {
        if (right == 0) {
            ok_ = false;
            return 0;
        }
        if (as_signed(right) == -1) return 0 - left;  // the one quotient that can overflow
        return static_cast<std::uint64_t>(as_signed(left) / as_signed(right));
    }

    static std::uint64_t compared(std::uint8_t operation, std::uint64_t left, std::uint64_t right) noexcept {
        switch (operation) {
            case 0x29:
                return left == right;
            case 0x2a:
                return as_signed(left) >= as_signed(right);
            case 0x2b:
                return as_signed(left) > as_signed(right);
            case 0x2c:
                return as_signed(left) <= as_signed(right);
            case 0x2d:
                return as_signed(left) < as_signed(right);
            default:
                return left != right;
        }
    }

    registers const& from_;
    careful_reader& stack_;
    std::uint64_t value_[most_values];
    unsigned depth_ = 0;
    bool ok_ = true;
};

}  // namespace tocsin::in_signal
