// SPDX-License-Identifier: MIT
// Counts allocations and locks that happen inside a handler.
//
// Runs anywhere. A program that links no_heap.cpp has its allocation functions and pthread_mutex_lock replaced:
// also for the C++ library, whose calls no object-code check of ours can see. "Inside a handler" means: the stack
// pointer lies on the thread's alternate stack, so the thread must have one and the handler must use it
// (SA_ONSTACK).
// It cannot see the calls that libc makes to itself. glibc only, and not under a sanitizer.
#pragma once

namespace tocsin::test {

// How many there were in this process so far.
unsigned no_heap_violations() noexcept;

// The function of the first one, such as "malloc"; null if there was none.
char const* no_heap_first() noexcept;

}  // namespace tocsin::test
