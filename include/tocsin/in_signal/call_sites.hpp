// SPDX-License-Identifier: MIT
// What stands in front of a supposed return address: whether it is a call, and of what.
//
// Runs in the handler. Code is read with care; nothing is executed, and what is no call is a number.
#pragma once

#include <tocsin/in_signal/module.hpp>
#include <tocsin/in_signal/registers.hpp>

namespace tocsin::in_signal {

class call_sites {
  public:
    // Code is read by a reader of its own, what an object says of itself by `headers`.
    call_sites(work& budget, careful_reader& headers) noexcept : budget_{budget}, headers_{headers} {}

    careful_reader& code() noexcept { return code_; }

    // A call stands in front of `back`; if an object holds it, then among its code.
    bool plausible(std::uintptr_t back) noexcept {
        back = machine::without_signature(back);
        unsigned char before[machine::longest_call];
        if (!read_before(back, before) || !machine::ends_with_call(before)) return false;
        if (code_begin_ < back && back <= code_end_) return true;
        if (!module_.holds(back - 1)) module_ = module_of(back - 1, headers_);
        if (!module_.found) return true;
        segment_bounds code{};
        if (!executable_in(module_, back - 1, headers_, &code)) return false;
        code_begin_ = code.begin;
        code_end_ = code.end;
        return true;
    }

    // Where the call in front of `back` went: directly, by way of a procedure table or through a pointer at a
    // fixed place. 0 if that cannot be told.
    std::uintptr_t callee(std::uintptr_t back) noexcept {
        unsigned char before[machine::longest_call];
        if (!read_before(back, before)) return 0;
        std::uintptr_t target = machine::call_target(before, back);
        std::uintptr_t slot = machine::call_slot(before, back);
        unsigned char stub[machine::longest_stub];
        if (target != 0 && code_.read(target, stub)) slot = machine::stub_slot(stub, target);
        if (slot != 0 && !headers_.read(slot, target)) return 0;
        return target;
    }

  private:
    // The last bytes in front of `back`; zeroes for those on a page before it that cannot be read.
    bool read_before(std::uintptr_t back, unsigned char (&before)[machine::longest_call]) noexcept {
        if (back < sizeof(before) || !budget_.spend()) return false;
        if (code_.read(back - sizeof(before), before)) return true;
        std::size_t const here = back % 4096;
        if (here == 0 || here >= sizeof(before)) return false;
        __builtin_memset(before, 0, sizeof(before));
        return code_.read_bytes(back - here, before + sizeof(before) - here, here);
    }

    work& budget_;
    careful_reader& headers_;
    careful_reader code_{budget_};
    module_info module_{};           // the last one
    std::uintptr_t code_begin_ = 0;  // the last segment that was found to hold code
    std::uintptr_t code_end_ = 0;
};

}  // namespace tocsin::in_signal
