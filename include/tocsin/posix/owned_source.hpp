// SPDX-License-Identifier: MIT
// Work of the library's threads that belongs to a guard, which is kept as long as it runs.
//
// Runs on any ordinary thread.
#pragma once

#include <tocsin/posix/opening.hpp>
#include <tocsin/posix/source.hpp>

namespace tocsin::posix {

// A source that belongs to a guard's state.
struct owned_source : source {
    void* owner = nullptr;
    void (*keep_owner)(void*) noexcept = nullptr;
    void (*release_owner)(void*) noexcept = nullptr;

    void belong_to(opening const& to) noexcept {
        owner = to.owner;
        keep_owner = to.keep;
        release_owner = to.release;
        keep = [](source& self) noexcept {
            auto& own = static_cast<owned_source&>(self);
            own.keep_owner(own.owner);
        };
        release = [](source& self) noexcept {
            auto& own = static_cast<owned_source&>(self);
            own.release_owner(own.owner);
        };
    }
};

}  // namespace tocsin::posix
