// SPDX-License-Identifier: MIT
// A word that a handler and ordinary threads share.
//
// Runs anywhere, handlers included. A thin wrapper on the compilers' builtins: `<atomic>` costs six times
// as much to include as everything else in this folder together. Operations are sequentially consistent
// unless their name says otherwise. Every instantiation is lock-free, or it does not compile.
#pragma once

namespace tocsin::in_signal {

template <class T>
class atomic {
    static_assert(__atomic_always_lock_free(sizeof(T), nullptr),
                  "tocsin: this type needs a lock to be atomic; a handler must not take one");

  public:
    constexpr atomic() noexcept = default;
    constexpr explicit atomic(T initial) noexcept : value_{initial} {}
    atomic(atomic const&) = delete;
    atomic& operator=(atomic const&) = delete;

    T load() const noexcept { return __atomic_load_n(&value_, __ATOMIC_SEQ_CST); }
    T load_acquire() const noexcept { return __atomic_load_n(&value_, __ATOMIC_ACQUIRE); }
    T load_relaxed() const noexcept { return __atomic_load_n(&value_, __ATOMIC_RELAXED); }

    void store(T desired) noexcept { __atomic_store_n(&value_, desired, __ATOMIC_SEQ_CST); }
    void store_release(T desired) noexcept { __atomic_store_n(&value_, desired, __ATOMIC_RELEASE); }
    void store_relaxed(T desired) noexcept { __atomic_store_n(&value_, desired, __ATOMIC_RELAXED); }

    T exchange(T desired) noexcept { return __atomic_exchange_n(&value_, desired, __ATOMIC_SEQ_CST); }

    // On failure `expected` holds what was found.
    bool compare_exchange(T& expected, T desired) noexcept {
        return __atomic_compare_exchange_n(&value_, &expected, desired, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_SEQ_CST);
    }
    // The same for callers that do not care what was found.
    bool replace(T expected, T desired) noexcept { return compare_exchange(expected, desired); }

    T fetch_add(T amount) noexcept { return __atomic_fetch_add(&value_, amount, __ATOMIC_SEQ_CST); }
    T fetch_sub(T amount) noexcept { return __atomic_fetch_sub(&value_, amount, __ATOMIC_SEQ_CST); }
    T fetch_or(T bits) noexcept { return __atomic_fetch_or(&value_, bits, __ATOMIC_SEQ_CST); }
    T fetch_and(T bits) noexcept { return __atomic_fetch_and(&value_, bits, __ATOMIC_SEQ_CST); }

    // For system calls that take the word itself (futex).
    T* address() noexcept { return &value_; }

  private:
    T value_{};
};

}  // namespace tocsin::in_signal
