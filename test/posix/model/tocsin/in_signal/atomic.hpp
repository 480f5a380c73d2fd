// SPDX-License-Identifier: MIT
// The word that a handler and ordinary threads share, for the model: plain memory, and each operation is a step.
//
// Runs in the model only. It has the interface of the real one; all orders are sequentially consistent, so that
// weaker orders are not judged here.
#pragma once

#include <cstring>

#include "posix/model/hooks.hpp"

namespace tocsin::in_signal {

template <class T>
class atomic {
    static_assert(sizeof(T) <= sizeof(std::uint64_t));

  public:
    constexpr atomic() noexcept = default;
    constexpr explicit atomic(T initial) noexcept : value_{initial} {}
    atomic(atomic const&) = delete;
    atomic& operator=(atomic const&) = delete;

    T load() const noexcept {
        model::before(&value_);
        note();
        return value_;
    }
    T load_acquire() const noexcept { return load(); }
    T load_relaxed() const noexcept { return load(); }

    void store(T desired) noexcept { exchange(desired); }
    void store_release(T desired) noexcept { exchange(desired); }
    void store_relaxed(T desired) noexcept { exchange(desired); }

    T exchange(T desired) noexcept {
        return change([desired](T) { return desired; });
    }
    bool compare_exchange(T& expected, T desired) noexcept {
        model::before(&value_);
        note();
        if (value_ != expected) {
            expected = value_;
            return false;
        }
        value_ = desired;
        model::wrote(&value_);
        return true;
    }
    bool replace(T expected, T desired) noexcept { return compare_exchange(expected, desired); }

    T fetch_add(T amount) noexcept {
        return change([amount](T found) { return static_cast<T>(found + amount); });
    }
    T fetch_sub(T amount) noexcept {
        return change([amount](T found) { return static_cast<T>(found - amount); });
    }
    T fetch_or(T bits) noexcept {
        return change([bits](T found) { return static_cast<T>(found | bits); });
    }
    T fetch_and(T bits) noexcept {
        return change([bits](T found) { return static_cast<T>(found & bits); });
    }

    T* address() noexcept { return &value_; }

  private:
    void note() const noexcept {
        std::uint64_t as_number = 0;
        std::memcpy(&as_number, &value_, sizeof value_);
        model::read(&value_, sizeof value_, as_number);
    }
    template <class Change>
    T change(Change next) noexcept {
        model::before(&value_);
        note();
        T const found = value_;
        value_ = next(found);
        model::wrote(&value_);
        return found;
    }

    T value_{};
};

}  // namespace tocsin::in_signal
