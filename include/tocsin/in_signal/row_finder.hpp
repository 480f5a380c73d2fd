// SPDX-License-Identifier: MIT
// The unwind row of an address: the one that walks have needed before, or the one in the tables of its object.
//
// Runs in the handler. Objects, tables and rows are what a walk has met last; rows that are short are kept for others.
#pragma once

#include <tocsin/in_signal/call_frame.hpp>
#include <tocsin/in_signal/eh_frame.hpp>
#include <tocsin/in_signal/known_rows.hpp>
#include <tocsin/in_signal/module.hpp>

namespace tocsin::in_signal {

class row_finder {
  public:
    // `rows` may be null.
    row_finder(work& budget, known_rows* rows) noexcept
        : budget_{budget}, rows_{rows}, pass_{rows != nullptr ? rows->pass() : 0} {}

    frame_entry entry{};
    frame_row row;  // of what was found last

    // Reads what belongs to objects.
    careful_reader& memory() noexcept { return tables_.memory(); }


    bool find_known(std::uintptr_t address, short_row& to) noexcept {
        return rows_ != nullptr && find_in_rows(address, to);
    }

    // In the tables: to `entry` and `row`. Recursion asks for the same one again and again.
    bool find(std::uintptr_t address) noexcept {
        if (is_good_ && address_ == address) return budget_.spend();
        address_ = address;
        is_good_ = tables_.find(module_for(address), address, entry) &&
                   entry.return_column == machine::return_register &&
                   rules_.row_for(entry, address, memory(), budget_, row);
        if (rows_ != nullptr && is_good_) keep(address);
        return is_good_;
    }

  private:
    module_info const& module_for(std::uintptr_t address) noexcept {
        if (!module_.holds(address)) module_ = tables_of(address, memory());
        return module_;
    }

    __attribute__((noinline)) bool find_in_rows(std::uintptr_t address, short_row& to) noexcept {
        return budget_.spend() && rows_->find(address, tag(address), to);
    }

    // Not where a trampoline may be.
    void keep(std::uintptr_t address) noexcept {
        short_row shorter;
        if (entry.signal_frame || entry.end == address + 1 || !shorter.take(row, address - entry.begin)) return;
        rows_->keep(address, tag(address), shorter);
    }

    std::uint64_t tag(std::uintptr_t address) noexcept {
        return known_rows::tag(pass_, objects_.of(address, memory()));
    }

    work& budget_;
    known_rows* rows_;
    std::uint64_t pass_;
    eh_frame tables_{budget_};
    last_objects objects_;
    module_info module_{};
    call_frame rules_;
    std::uintptr_t address_ = 0;
    bool is_good_ = false;
};

}  // namespace tocsin::in_signal
