// SPDX-License-Identifier: MIT
// The names of the frames of a report, each looked up once.
//
// Runs in the handler. The memory is lent by the report. Frames of one stack that lie in the same object are named
// together, and all later stacks profit: threads of one program look alike.
#pragma once

#include <tocsin/in_signal/module.hpp>
#include <tocsin/in_signal/symbolize.hpp>
#include <tocsin/in_signal/unwind.hpp>

namespace tocsin::in_signal {

// What is known of one address. `address` is the instruction, one byte before a return address.
struct named_address {
    std::uintptr_t address;
    std::uintptr_t in_module;  // less its bias
    std::uint64_t offset;      // in the function
    char const* name;          // null: no symbol holds it
    std::size_t name_size;
    char const* module;        // null: in no object; "" is the program
    bool name_cut;
    bool has_line;             // its source line has been asked for
};

class name_book {
  public:
    static constexpr std::size_t places = 2048;  // a power of two
    static constexpr std::size_t name_bytes = 128 * 1024;

    // Forgets everything: objects come and go between reports.
    void clear(std::uint64_t deadline) noexcept {
        for (named_address& each : known_) each.address = 0;
        used_ = 0;
        pool_ = {names_, name_bytes, 0};
        deadline_ = deadline;
    }

    static std::uintptr_t instruction(frame const& of) noexcept { return of.exact ? of.pc : of.pc - 1; }

    // Looks up all frames that are not known yet, object by object.
    void learn(frame const* frames, std::size_t count) noexcept {
        for (std::size_t i = 0; i < count; ++i) {
            if (instruction(frames[i]) == 0 || find(instruction(frames[i])) != nullptr) continue;
            if (used_ + count >= places) return;
            learn_module(instruction(frames[i]), frames + i, count - i);
        }
    }

    // Null if it was not learnt: too many addresses, or the null address, which marks a free place.
    named_address const* find(std::uintptr_t address) const noexcept {
        if (address == 0) return nullptr;
        named_address const& place = known_[place_of(address)];
        return place.address == address ? &place : nullptr;
    }

    // A mangled name made readable, until the next call; as it is where it is not understood.
    struct readable_name {
        char const* text;
        std::size_t size;
    };
    readable_name readable(char const* mangled) noexcept {
        std::size_t const size = length_of(mangled, 4096);
        std::size_t written = 0;
        auto* const to = reinterpret_cast<char*>(memory_.scratch);
        bool const understood = size > 2 && mangled[0] == '_' && mangled[1] == 'Z' &&
                                demangle(mangled, size, memory_.tree, to, 2048, written) != demangled::refused;
        return understood ? readable_name{to, written} : readable_name{mangled, size};
    }
    // The program's own file.
    void use_program(char const* path) noexcept { program_ = path; }
    demangle_tree& tree() noexcept { return memory_.tree; }

    // True once for each address that is known.
    bool first_line_of(std::uintptr_t address) noexcept {
        if (find(address) == nullptr) return false;
        named_address& place = known_[place_of(address)];
        bool const first = !place.has_line;
        place.has_line = true;
        return first;
    }

  private:
    std::size_t place_of(std::uintptr_t address) const noexcept {
        std::size_t at = (address ^ address >> 13) & (places - 1);
        while (known_[at].address != 0 && known_[at].address != address) at = (at + 1) & (places - 1);
        return at;
    }

    named_address& add(std::uintptr_t address, module_info const& module) noexcept {
        named_address& place = known_[place_of(address)];
        if (place.address == 0) ++used_;
        place = {address, address - module.bias, 0, nullptr, 0, module.found ? module.path : nullptr, false, false};
        return place;
    }

    void learn_module(std::uintptr_t first, frame const* frames, std::size_t count) noexcept {
        module_info const module = module_of(first);
        if (!module.found) {
            add(first, module_info{});
            return;
        }
        std::size_t asked = 0;
        for (std::size_t i = 0; i < count && asked < most_frames_at_once; ++i) {
            std::uintptr_t const address = instruction(frames[i]);
            if (!module.holds(address) || find(address) != nullptr) continue;
            add(address, module);
            queries_[asked] = {};
            queries_[asked].address = address - module.bias;
            queries_[asked++].tag = address;
        }
        if (deadline_ != 0 && monotonic() > deadline_) return;
        // the program's own file by a name that lasts: that of the process is gone once the main thread has ended
        char const* const own = program_ != nullptr ? program_ : "/proc/thread-self/exe";
        char const* const path = *module.path != '\0' ? module.path : own;
        name_addresses({path, module.begin}, queries_, asked, memory_, pool_, deadline_);
        for (std::size_t i = 0; i < asked; ++i) {
            address_query const& answer = queries_[i];
            named_address& place = known_[place_of(answer.tag)];
            if (!answer.found) continue;
            place.name = answer.name;
            place.name_size = answer.name_size;
            place.name_cut = answer.name_cut;
            place.offset = answer.offset;
        }
    }

    static constexpr std::size_t most_frames_at_once = 256;

    naming_memory memory_;
    address_query queries_[most_frames_at_once];
    named_address known_[places];
    char names_[name_bytes];
    name_pool pool_{};
    std::size_t used_ = 0;
    char const* program_ = nullptr;
    std::uint64_t deadline_ = 0;
};

}  // namespace tocsin::in_signal
