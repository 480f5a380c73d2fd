// SPDX-License-Identifier: MIT
// An alternate stack that lives as long as its thread.
//
// Runs on any ordinary thread.
#pragma once

#include <new>

#include <tocsin/libc_functions.hpp>
#include <tocsin/posix/alternate_stack.hpp>
#include <tocsin/posix/library.hpp>

namespace tocsin::posix {

namespace detail {

[[gnu::visibility("hidden")]] inline failure open_kept_stack(in_signal::table& in) noexcept {
    static pthread_key_t key;
    static int const no_key = libc::pthread_key_create(&key, [](void* stack) {
        static_cast<alternate_stack*>(stack)->close();
        delete static_cast<alternate_stack*>(stack);
    });
    if (no_key != 0) return {no_key, "pthread_key_create", 0};
    auto* const stack = ::new (std::nothrow) alternate_stack;
    if (stack == nullptr) return {ENOMEM, "operator new", 0};
    failure const refused = stack->open(in.limit.alternate_stack);
    if (refused || !stack->owns() || libc::pthread_setspecific(key, stack) != 0) {
        stack->close();
        delete stack;
    }
    return refused;
}

}  // namespace detail

// Gives the calling thread an alternate stack for the rest of its life. Which copy of the library does it is settled by
// the first that has to; that one stays loaded, for its code runs when threads end.
[[gnu::visibility("hidden")]] inline failure keep_alternate_stack(in_signal::table& in) noexcept {
    if (in.stack_keeper.load() == nullptr) {
        detail::pin_this_object();
        in.stack_keeper.replace(nullptr, &detail::open_kept_stack);
    }
    return in.stack_keeper.load()(in);
}

}  // namespace tocsin::posix
