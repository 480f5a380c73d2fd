// SPDX-License-Identifier: MIT
// Walks up one stack, from registers to the addresses of all callers.
//
// Runs in the handler, and on any ordinary thread. It goes by the unwind tables that compilers leave in
// every object, through signal frames, procedure tables, the vdso and code without frame pointers. Where
// there is no table it looks, in this order, for
//
//     a signal return trampoline    registers come from the context that the kernel saved
//     a call that went wrong        pc is null, unmapped or not code: the return address has just been put
//                                   on top of the stack (x86-64) or into the link register (aarch64)
//     a frame pointer               of code made at run time
//
// and believes a return address only if a call stands in front of it. Every read, of stacks and tables, is
// asked for first; each frame lies above the one before; steps, frames and changes of stack are counted. So
// any input ends, and none faults. No lock, no heap; about 3 KiB of stack (5 KiB on aarch64).
// It cannot see callers of functions called in tail position, and knows nothing of languages that split
// their stacks without saying so in tables.
#pragma once

#include <tocsin/in_signal/call_sites.hpp>
#include <tocsin/in_signal/dwarf_expression.hpp>
#include <tocsin/in_signal/frames.hpp>
#include <tocsin/in_signal/registers.hpp>
#include <tocsin/in_signal/row_finder.hpp>

namespace tocsin::in_signal {

inline constexpr unsigned most_stack_changes = 32;
inline constexpr std::uint64_t most_work = 50'000'000;
inline constexpr std::uintptr_t farthest_frame_pointer = std::uintptr_t{16} << 20;
inline constexpr std::uintptr_t guess_window = std::uintptr_t{64} << 10;

namespace detail {

class walker {
  public:
    walker(registers const& from, careful_reader& stack, known_rows* rows) noexcept
        : now_{from}, stack_{stack}, finder_{budget_, rows} {}

    walk run(frame* out, std::size_t limit) noexcept {
        walk done{};
        frame_ends ends{out, limit};
        for (;;) {
            if (ends.count() == limit + most_omitted) {
                done.ended = ending::limit;
                break;
            }
            ends.add({now_.pc, now_.signal_frame});
            if (up(done.ended)) continue;
            if (budget_.left == 0) done.ended = ending::limit;
            break;
        }
        ends.finish(done);
        done.guessed = guessed_;
        return done;
    }

  private:
    // How one way of finding the caller turned out.
    enum class found : std::uint8_t { caller, interrupted, nothing, end_of_stack };

    // To the caller. False, and why, if there is none.
    bool up(ending& why) noexcept {
        found const shortly = by_known_row();
        why = ending::end_of_stack;
        return shortly != found::nothing ? shortly == found::caller : up_by_tables(why);
    }

    __attribute__((noinline)) bool up_by_tables(ending& why) noexcept {
        registers next = now_;
        found result = has_row() ? by_row(next) : found::nothing;
        if (result == found::nothing) {
            next = now_;
            result = without_row(next);
        }
        next.pc = machine::without_signature(next.pc);
        why = result == found::nothing ? ending::lost : ending::end_of_stack;
        if (result == found::nothing || result == found::end_of_stack) return false;
        next.signal_frame = result == found::interrupted;
        if (next.pc == 0 && !next.signal_frame) return false;
        why = ending::cycle;
        if (!is_above(next)) return false;
        if (!next.signal_frame && !machine::return_is_column) next.forget(machine::return_register);
        now_ = next;
        return true;
    }

    // Each frame must lie above its callee's. Only a function that was interrupted before it saved anything
    // may share its stack pointer, and only a signal frame may lead to another stack, a few times.
    bool is_above(registers const& next) noexcept {
        if (next.sp() > now_.sp()) return true;
        if (next.signal_frame) return ++stack_changes_ <= most_stack_changes;
        return next.sp() == now_.sp() && now_.signal_frame && !machine::call_moves_stack;
    }

    // A return address may be the first byte after its function: the call did not return.
    std::uintptr_t looked_up() const noexcept { return now_.signal_frame ? now_.pc : now_.pc - 1; }

    bool has_row() noexcept { return finder_.find(looked_up()); }

    // By a row that this walk or another has needed before; if there is none, nothing has changed but for a guess.
    found by_known_row() noexcept {
        short_row row;
        if (!finder_.find_known(looked_up(), row)) return found::nothing;
        if (row.outermost()) return found::end_of_stack;
        if (row.cfa_register() == machine::frame_register && !now_.knows(machine::frame_register))
            guess_frame_pointer(looked_up() - row.into_function(), row.cfa_offset());
        return to_caller(row, now_, stack_) ? found::caller : found::nothing;
    }

    found by_row(registers& next) noexcept {
        // Not the table of a trampoline, if it can be helped: on aarch64, older kernels' tells less than the
        // context. One without a table follows some function's end.
        if ((entry_.signal_frame || entry_.end == now_.pc) && through_trampoline(next))
            return found::interrupted;
        constexpr unsigned back = machine::return_register;
        if (row_.kind[back] == rule::undefined) return found::end_of_stack;
        std::uintptr_t cfa = 0;
        if (!frame_address(cfa)) return found::nothing;
        next.set(machine::stack_register, cfa);
        for (unsigned first = 0; first < machine::register_count; first += frame_row::kinds_in_word)
            for (std::uint64_t left = row_.rules_from(first); left != 0;) {
                unsigned const bit = static_cast<unsigned>(__builtin_ctzll(left)) & ~7U;
                left &= ~(std::uint64_t{0xff} << bit);
                apply(first + bit / 8, cfa, next);
            }
        if (!next.knows(back)) return found::nothing;
        next.pc = next.value[back];
        if (machine::return_is_column) next.forget(back);
        return entry_.signal_frame ? found::interrupted : found::caller;
    }

    // The canonical frame address: the caller's stack pointer, in most frames.
    bool frame_address(std::uintptr_t& cfa) noexcept {
        if (row_.cfa_register == cfa_by_expression) return evaluate(row_.cfa_offset, nullptr, cfa);
        if (row_.cfa_register == machine::frame_register && !now_.knows(machine::frame_register)) {
            guess_frame_pointer(entry_.begin, row_.cfa_offset);
            if (!has_row()) return false;  // again: the guess has looked at rows of callers
        }
        if (!now_.look_up(row_.cfa_register, cfa)) return false;
        cfa += row_.cfa_offset;
        return true;
    }

    void apply(unsigned number, std::uintptr_t cfa, registers& next) noexcept {
        std::uintptr_t value = 0;
        rule const kind = row_.kind[number];
        if (kind == rule::saved_at ? stack_.read_near(cfa + row_.operand[number], value)
                                   : recover(number, cfa, value))
            next.set(number, value);
        else
            next.forget(number);
    }

    // What a register held in the caller.
    bool recover(unsigned number, std::uintptr_t cfa, std::uintptr_t& value) noexcept {
        std::uint64_t const operand = row_.operand[number];
        std::uintptr_t at = cfa + operand;
        switch (row_.kind[number]) {
            case rule::is_offset:
                value = at;
                return true;
            case rule::in_register:
                return now_.look_up(operand, value);
            case rule::saved_at_result:
                return evaluate(operand, &cfa, at) && stack_.read(at, value);
            case rule::is_result:
                return evaluate(operand, &cfa, value);
            default:
                return false;
        }
    }

    bool evaluate(std::uintptr_t block, std::uintptr_t const* first, std::uintptr_t& result) noexcept {
        dwarf_cursor code{instructions_, budget_, block, entry_.block_end(block)};
        code.narrow(code.unsigned_leb());
        dwarf_expression expression{now_, stack_};
        if (first != nullptr) expression.push(*first);
        return expression.run(code, result);
    }

    found without_row(registers& next) noexcept {
        if (through_trampoline(next)) return found::interrupted;
        if (now_.signal_frame && after_bad_call(next)) return found::caller;
        if (now_.signal_frame || calls_.plausible(now_.pc)) {
            if (now_.signal_frame && !now_.knows(machine::frame_register))
                guess_frame_pointer(0, sizeof(frame_record));
            if (!now_.signal_frame && by_call_target(next)) return found::caller;
            if (by_frame_pointer(next)) return found::caller;
            if (!now_.signal_frame && now_.knows(machine::frame_register) &&
                now_.value[machine::frame_register] == 0)
                return found::end_of_stack;
        }
        return found::nothing;
    }

    bool through_trampoline(registers& next) noexcept {
        unsigned char code[sizeof(machine::trampoline)];
        if (!now_.knows(machine::stack_register) || !code_.read(now_.pc, code)) return false;
        for (std::size_t i = 0; i < sizeof(code); ++i)
            if (code[i] != machine::trampoline[i]) return false;
        return registers_saved_at(now_.sp() + machine::context_above_stack, stack_, next);
    }

    // The return address is where a call has put it. In a procedure table without unwind table up to two
    // more words may lie on top.
    bool after_bad_call(registers& next) noexcept {
        if (!machine::call_moves_stack) {
            constexpr unsigned link = machine::return_register;
            if (!now_.knows(link) || !calls_.plausible(now_.value[link])) return false;
            next.pc = now_.value[link];
            return true;
        }
        if (!now_.knows(machine::stack_register)) return false;
        unsigned const most_pushed = executable_in(module_of(now_.pc, headers_), now_.pc, headers_) ? 2 : 0;
        for (unsigned pushed = 0; pushed <= most_pushed; ++pushed) {
            std::uintptr_t const at = now_.sp() + pushed * sizeof(std::uintptr_t);
            std::uintptr_t back = 0;
            if (!stack_.read(at, back) || !calls_.plausible(back)) continue;
            next.pc = back;
            next.set(machine::stack_register, at + sizeof(back));
            return true;
        }
        return false;
    }

    // A small function without a table that calls another, as clang makes one on the way to std::terminate: its return
    // address is near, and the call in front of that leads to it.
    bool by_call_target(registers& next) noexcept {
        constexpr unsigned most_words = 8;
        constexpr std::uintptr_t longest_function = 256;
        if (!now_.knows(machine::stack_register)) return false;
        for (unsigned i = 0; i < most_words; ++i) {
            std::uintptr_t const at = now_.sp() + i * sizeof(std::uintptr_t);
            std::uintptr_t back = 0;
            unsigned char before[machine::longest_call];
            if (!stack_.read(at, back)) return false;
            if (!code_.read(back - sizeof before, before)) continue;
            std::uintptr_t const target = machine::call_target(before, back);
            if (target == 0 || target > now_.pc || now_.pc - target > longest_function) continue;
            next.pc = back;
            next.set(machine::stack_register, at + sizeof back);
            return true;
        }
        return false;
    }

    bool by_frame_pointer(registers& next) noexcept {
        if (!now_.knows(machine::frame_register)) return false;
        std::uintptr_t const at = now_.value[machine::frame_register];
        if (at < now_.sp() || at - now_.sp() > farthest_frame_pointer) return false;
        frame_record record{};
        if (!read_record(at, record) || !calls_.plausible(record.back)) return false;
        next.pc = record.back;
        next.set(machine::frame_register, record.caller);
        next.set(machine::stack_register, at + sizeof(record));
        // On aarch64 the record may lie anywhere in the frame: no more than a lower bound is known.
        if (!machine::call_moves_stack) next.forget(machine::stack_register);
        return true;
    }

    // What a frame pointer points to, on both machines.
    struct frame_record {
        std::uintptr_t caller;
        std::uintptr_t back;
    };

    bool read_record(std::uintptr_t at, frame_record& record) noexcept {
        return at % sizeof(std::uintptr_t) == 0 && stack_.read(at, record);
    }

    // The current function needs its frame pointer and nobody knows it. Take, above the stack pointer, the
    // record that looks best: stale ones lie about in frames that are not filled yet. `function` is where the
    // function begins, 0 if nobody knows, `size` how far above its record its caller's frame begins.
    void guess_frame_pointer(std::uintptr_t function, std::uintptr_t size) noexcept {
        std::uintptr_t best = 0;
        unsigned best_rank = 0;
        if (!now_.knows(machine::stack_register)) return;
        std::uintptr_t const begin = (now_.sp() + 7) & ~std::uintptr_t{7};
        for (std::uintptr_t at = begin; at < begin + guess_window && best_rank < best_of_all;
             at += sizeof(at)) {
            frame_record record{};
            if (!budget_.spend() || !read_record(at, record)) break;
            unsigned const rank = rank_of(at, record, function, size);
            if (rank <= best_rank) continue;
            best_rank = rank;
            best = at;
        }
        if (best_rank == 0) return;
        now_.set(machine::frame_register, best);
        guessed_ = true;
    }

    static constexpr unsigned best_of_all = 3;

    // 3: its call came to this function, or nobody knows where it went and its callers lead to the end of the stack.
    // 2: nobody knows where it went, and another call follows. 1: one of the two.
    unsigned rank_of(std::uintptr_t at, frame_record const& record, std::uintptr_t function,
                     std::uintptr_t size) noexcept {
        if (!calls_.plausible(record.back)) return 0;
        // A caller that needs no frame pointer may have any number in its register.
        bool const is_pointer = record.caller <= 1  // what threads start with
                                || (record.caller > at && record.caller - at <= farthest_frame_pointer);
        lead const callers = follow(at + size, record);
        if (!is_pointer && callers == lead::nowhere) return 0;
        std::uintptr_t const target = calls_.callee(machine::without_signature(record.back));
        if (target != 0 && target == function) return best_of_all;
        if (target == 0 && callers == lead::to_the_end) return best_of_all;
        frame_record above{};
        bool const followed =
            callers != lead::nowhere || (read_record(record.caller, above) && calls_.plausible(above.back));
        return (target == 0 ? 1U : 0U) + (followed ? 1U : 0U);
    }

    enum class lead : std::uint8_t { nowhere, on, to_the_end };

    bool follow_known(short_row const& row, std::uintptr_t& sp, std::uintptr_t& pointer, std::uintptr_t& pc) noexcept {
        registers there{};
        there.set(machine::stack_register, sp);
        there.set(machine::frame_register, pointer);
        if (!to_caller(row, there, stack_) || there.sp() - sp > farthest_frame_pointer) return false;
        if (!there.knows(machine::frame_register) || !calls_.plausible(there.pc)) return false;
        sp = there.sp();
        pointer = there.value[machine::frame_register];
        pc = there.pc;
        return true;
    }

    // How far the callers' rows lead from a record, with the two registers that it tells of.
    lead follow(std::uintptr_t sp, frame_record const& record) noexcept {
        constexpr unsigned farthest = 64;
        constexpr unsigned back = machine::return_register;
        std::uintptr_t pc = record.back;
        std::uintptr_t pointer = record.caller;
        for (unsigned steps = 0; steps < farthest; ++steps) {
            lead const here = steps == 0 ? lead::nowhere : lead::on;
            short_row known;
            if (finder_.find_known(machine::without_signature(pc) - 1, known)) {
                if (known.outermost()) return lead::to_the_end;
                if (!follow_known(known, sp, pointer, pc)) return here;
                continue;
            }
            if (!finder_.find(machine::without_signature(pc) - 1)) return here;
            if (row_.kind[back] == rule::undefined) return lead::to_the_end;
            bool const by_pointer = row_.cfa_register == machine::frame_register;
            if (!by_pointer && row_.cfa_register != machine::stack_register) return here;
            std::uintptr_t const cfa = (by_pointer ? pointer : sp) + row_.cfa_offset;
            if (cfa <= sp || cfa - sp > farthest_frame_pointer) return here;
            if (row_.kind[back] != rule::saved_at || !stack_.read(cfa + row_.operand[back], pc)) return here;
            if (!calls_.plausible(pc)) return here;
            if (row_.kind[machine::frame_register] == rule::saved_at &&
                !stack_.read(cfa + row_.operand[machine::frame_register], pointer))
                return here;
            sp = cfa;
        }
        return lead::on;
    }

    registers now_;
    careful_reader& stack_;
    work budget_{most_work};
    row_finder finder_;
    frame_entry& entry_{finder_.entry};
    frame_row& row_{finder_.row};
    careful_reader& headers_{finder_.memory()};
    careful_reader& instructions_{finder_.memory()};
    call_sites calls_{budget_, headers_};
    careful_reader& code_{calls_.code()};
    unsigned stack_changes_ = 0;
    bool guessed_ = false;
};

}  // namespace detail

// Stores the first `limit` frames, `from` included, and counts the others. Rows that are known are not looked up.
__attribute__((noinline)) inline walk unwind(registers const& from, frame* out, std::size_t limit,
                                             careful_reader& stack, known_rows* rows = nullptr) noexcept {
    stack.take_for_granted(reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)));
    return detail::walker{from, stack, rows}.run(out, limit);
}

}  // namespace tocsin::in_signal
