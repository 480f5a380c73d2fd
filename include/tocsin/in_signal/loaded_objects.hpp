// SPDX-License-Identifier: MIT
// The objects that are mapped into this process to be run, as /proc/self/maps lists them.
//
// Runs in the handler. The loader's own list may be in the middle of a change, and its lock held; the kernel's is
// always whole. Where /proc is hidden there is no list.
#pragma once

#include <tocsin/in_signal/elf.hpp>
#include <tocsin/in_signal/mappings.hpp>

namespace tocsin::in_signal {

struct loaded_object {
    std::uintptr_t begin;
    std::uintptr_t end;  // of its last mapping
    build_id id;
    char path[256];
};

// Calls visit(loaded_object) for each file that code is mapped from, in the order of their addresses.
template <class Visit>
bool each_loaded_object(Visit&& visit) noexcept {
    loaded_object now{};
    bool code = false;
    auto const tell = [&]() noexcept {
        if (!code || now.path[0] != '/') return;
        loaded_build_id(now.begin, now.id);
        visit(static_cast<loaded_object const&>(now));
    };
    bool const told = each_mapping([&](mapping const& part) noexcept {
        bool same = part.path[0] != '\0' && part.offset != 0;
        for (std::size_t i = 0; same && i < sizeof now.path; ++i) {
            same = part.path[i] == now.path[i];
            if (part.path[i] == '\0') break;
        }
        if (!same) {
            if (part.path[0] == '\0') return false;  // what follows an object's data without a file
            tell();
            now = {};
            now.begin = part.begin;
            __builtin_memcpy(now.path, part.path, sizeof now.path);
            code = false;
        }
        now.end = part.end;
        code = code || part.executable;
        return false;
    });
    tell();
    return told;
}

}  // namespace tocsin::in_signal
