// SPDX-License-Identifier: MIT
// The objects that were loaded when a report became possible, for libcs without _dl_find_object.
//
// Runs in the handler. Written once, on an ordinary thread (posix/module_map.hpp), and read from then on. An object
// that was unloaded since is still in it: what it points to is read with care, and frames in it get no name.
#pragma once

#include <cstddef>
#include <cstdint>

#include <tocsin/in_signal/atomic.hpp>

namespace tocsin::in_signal {

struct known_module {
    std::uintptr_t bias;
    std::uintptr_t begin, end;
    std::uintptr_t eh_frame_hdr;
    char const* path;
};

struct module_map {
    static constexpr std::size_t most = 1024;

    std::size_t count;
    known_module modules[most];

    known_module const* find(std::uintptr_t address) const noexcept {
        for (std::size_t i = 0; i < count; ++i)
            if (modules[i].begin <= address && address < modules[i].end) return &modules[i];
        return nullptr;
    }
};

// Null where libc answers by itself.
[[gnu::visibility("hidden")]] inline atomic<module_map const*> known_modules;

}  // namespace tocsin::in_signal
