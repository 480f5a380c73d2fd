// SPDX-License-Identifier: MIT
// An alternate stack for every thread that is started, without a word in the thread: `pthread_create` in front of that
// of the C library.
//
// Runs on any ordinary thread; the thread itself gets its stack and its record before anything else. Both go when the
// thread ends, however it ends: the stack by a key (pthread_key_create(3)), the record as an object of the thread, so
// that no frame of ours has something to unwind.
#pragma once

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <threads.h>

#include <tocsin/posix/kept_stack.hpp>
#include <tocsin/posix/thread_records.hpp>

namespace tocsin::posix {

using start_pthread = int (*)(pthread_t*, pthread_attr_t const*, void* (*)(void*), void*);
using start_thrd = int (*)(thrd_t*, thrd_start_t, void*);

// What can be had; a thread without it runs all the same.
[[gnu::visibility("hidden")]] inline void cover_this_thread() noexcept {
    table* in = nullptr;
    if (find_table(in)) return;
    if (keep_alternate_stack(*in)) return;
    open_own_record();
}

namespace detail {

// Body is `void* (*)(void*)` or `int (*)(void*)`.
template <class Body>
struct covered_start {
    Body body;
    void* argument;
};

// Not noexcept: pthread_exit and cancellation unwind through it.
template <class Body>
auto run_covered(void* given) {
    auto const start = *static_cast<covered_start<Body>*>(given);
    ::free(given);
    cover_this_thread();
    return start.body(start.argument);
}

// Starts a thread by `begin(body, argument)`. Without memory for the cover it is started without.
template <class Body, class Begin>
int begin_covered(Body body, void* argument, Begin begin) noexcept {
    auto* const start = static_cast<covered_start<Body>*>(::malloc(sizeof(covered_start<Body>)));
    if (start == nullptr) return begin(body, argument);
    *start = {body, argument};
    int const answer = begin(&run_covered<Body>, start);
    if (answer != 0) ::free(start);
    return answer;
}

// The next object's function of this name, in the order in which the loader looks. Asked for anew each time in which
// it is not known yet; several threads find the same.
template <class Function>
Function next_function(char const* name, void*& known) noexcept {
    void* found = __atomic_load_n(&known, __ATOMIC_ACQUIRE);
    if (found == nullptr) {
        found = ::dlsym(RTLD_NEXT, name);
        __atomic_store_n(&known, found, __ATOMIC_RELEASE);
    }
    return reinterpret_cast<Function>(found);
}

[[gnu::visibility("hidden")]] inline constinit void* next_pthread_create = nullptr;
[[gnu::visibility("hidden")]] inline constinit void* next_thrd_create = nullptr;

}  // namespace detail

// What an interposed pthread_create(3) does. Errors are those of the C library, unchanged; EAGAIN where there is none.
[[gnu::visibility("hidden")]] inline int create_thread(bool covered, pthread_t* thread,
                                                       pthread_attr_t const* attributes, void* (*body)(void*),
                                                       void* argument) noexcept {
    auto const next = detail::next_function<start_pthread>("pthread_create", detail::next_pthread_create);
    if (next == nullptr) return EAGAIN;
    if (!covered) return next(thread, attributes, body, argument);
    return detail::begin_covered(body, argument, [&](void* (*run)(void*), void* given) noexcept {
        return next(thread, attributes, run, given);
    });
}

// The same for thrd_create(3), which in glibc does not go through pthread_create's name.
[[gnu::visibility("hidden")]] inline int create_thrd(bool covered, thrd_t* thread, thrd_start_t body,
                                                     void* argument) noexcept {
    auto const next = detail::next_function<start_thrd>("thrd_create", detail::next_thrd_create);
    if (next == nullptr) return thrd_error;
    if (!covered) return next(thread, body, argument);
    return detail::begin_covered(
        body, argument, [&](thrd_start_t run, void* given) noexcept { return next(thread, run, given); });
}

}  // namespace tocsin::posix
