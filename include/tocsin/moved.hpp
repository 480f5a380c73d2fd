// SPDX-License-Identifier: MIT
// What std::move and std::declval are.
//
// Runs anywhere. <utility> costs more to include than all the floor together, for <compare> and pairs.
#pragma once

namespace tocsin::detail {

template <class T>
constexpr T&& moved(T& from) noexcept {
    return static_cast<T&&>(from);
}

// For what is never evaluated.
template <class T>
T&& some() noexcept;

}  // namespace tocsin::detail
