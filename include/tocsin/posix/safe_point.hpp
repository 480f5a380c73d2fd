// SPDX-License-Identifier: MIT
// What a guard keeps for the reactions of its safe point.
//
// Runs on any ordinary thread.
#pragma once

#include <tocsin/in_signal/owner.hpp>
#include <tocsin/posix/deferred.hpp>
#include <tocsin/posix/ownership.hpp>

namespace tocsin::posix {

// A guard has one, whichever of its reactions asks for it first.
template <auto Feature>
struct safe_point_state {
    static constexpr auto provides = Feature;

    safe_point point;
    in_signal::owner_of_row owner;

    failure open(opening const& to) noexcept { return point.open(to); }
    void close() noexcept { point.close(); }
    failure rearm() noexcept {
        point.rearm();
        return {};
    }
    in_signal::inbox& box() noexcept { return point.box; }
    ownership own() noexcept { return ownership{owner}; }
    void use(deferred_runner run, std::uint64_t (*same_row)(void*, int)) noexcept {
        point.run = run;
        point.same_row = same_row;
    }
};

}  // namespace tocsin::posix
