// SPDX-License-Identifier: MIT
// What a copy of the library gives to the others when it makes the table.
//
// Runs on any ordinary thread.
#pragma once

#include <signal.h>

#include <tocsin/in_signal/entry.hpp>
#include <tocsin/libc_functions.hpp>
#include <tocsin/posix/directory.hpp>
#include <tocsin/posix/registry.hpp>
#include <tocsin/signal.hpp>

// The kernel-facing entry. It has C linkage so that debuggers, cores and `nm` show it under one plain name.
extern "C" [[gnu::visibility("hidden")]] inline void tocsin_entry(int signal, siginfo_t* info, void* context) {
    tocsin::in_signal::enter(signal, info, context);
}

namespace tocsin::posix {

inline constexpr in_signal::kernel_set fault_bits = [] {
    in_signal::kernel_set bits = 0;
    for (int signal = 1; signal <= tocsin::detail::standard_signals; ++signal)
        if (is_fault(signal)) bits |= in_signal::bit_of(signal);
    return bits;
}();

// Every signal but the faults and the reserved one; those two stay open wherever the library blocks signals.
[[gnu::cold]] inline in_signal::kernel_set all_but_faults(in_signal::table const& in) noexcept {
    in_signal::kernel_set set = ~fault_bits;
    if (int const reserved = in.reserved_signal.load()) set &= ~in_signal::bit_of(reserved);
    return set;
}

inline void set_mask(in_signal::kernel_set wanted, in_signal::kernel_set* before = nullptr) noexcept {
    sigset_t libc_wanted;
    sigset_t libc_before;
    ::sigemptyset(&libc_wanted);
    __builtin_memcpy(&libc_wanted, &wanted, sizeof wanted);
    ::pthread_sigmask(SIG_SETMASK, &libc_wanted, &libc_before);
    if (before != nullptr) __builtin_memcpy(before, &libc_before, sizeof *before);
}

inline in_signal::kernel_set current_mask() noexcept {
    sigset_t libc_mask;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &libc_mask);
    in_signal::kernel_set mask;
    __builtin_memcpy(&mask, &libc_mask, sizeof mask);
    return mask;
}

namespace detail {

[[gnu::visibility("hidden"), gnu::cold]] inline void note_exit(void* in) noexcept {
    __atomic_store_n(&static_cast<in_signal::table*>(in)->exiting, 1U, __ATOMIC_SEQ_CST);
}

// In the child, before it can have threads of its own: those that a fork left behind are inside nothing.
[[gnu::visibility("hidden"), gnu::cold]] inline void note_fork() noexcept {
    if (in_signal::table* const in = in_signal::the_table.load()) adopt_process(*in);
}

}  // namespace detail

[[gnu::visibility("hidden")]] inline constexpr in_signal::operations own_operations{
    sizeof(in_signal::operations), &tocsin_entry, &claim_signal, &withdraw_signal, &in_signal::deliver,
    &in_signal::take_own_cell,
};

[[gnu::visibility("hidden"), gnu::noinline, gnu::cold]] inline failure find_table(in_signal::table*& found) noexcept {
    return find_table([](in_signal::table& made) noexcept {
        made.operate = &own_operations;
        bool const barrier = in_signal::knows_expedited_barrier();
        made.cells_may_be_owned.store(barrier ? in_signal::ownable : in_signal::shared_only);
        libc::cxa_atexit(&detail::note_exit, &made, &libc::this_object);
        libc::pthread_atfork(nullptr, nullptr, &detail::note_fork);
    }, found);
}

}  // namespace tocsin::posix
