// SPDX-License-Identifier: MIT
// Functions of libc whose headers cost more to include than all that is wanted of them.
//
// Declared here under names of our own, with libc's names for the linker: so they cannot clash with libc's own
// declarations, which differ from one libc to the next (noexcept, attributes). What they are called here is what
// POSIX and the man pages describe.
#pragma once

#include <sys/types.h>

namespace tocsin::detail::libc {

[[noreturn]] void abort() noexcept __asm__("abort");
void* malloc(size_t bytes) noexcept __asm__("malloc");
int posix_memalign(void** made, size_t alignment, size_t bytes) noexcept __asm__("posix_memalign");
void free(void* made) noexcept __asm__("free");
char* getenv(char const* name) noexcept __asm__("getenv");
char* strerror(int error) noexcept __asm__("strerror");
// What atexit(3) is made of (Itanium C++ ABI, 3.3.6): with an argument, and without a function in each object.
int cxa_atexit(void (*at_end)(void*), void* argument, void* object) noexcept __asm__("__cxa_atexit");
[[gnu::visibility("hidden")]] extern void* this_object __asm__("__dso_handle");
int pthread_atfork(void (*before)(), void (*in_parent)(), void (*in_child)()) noexcept __asm__("pthread_atfork");
int pthread_create(pthread_t* made, pthread_attr_t const* as, void* (*body)(void*), void* argument) noexcept
    __asm__("pthread_create");
int pthread_detach(pthread_t thread) noexcept __asm__("pthread_detach");
int pthread_key_create(pthread_key_t* made, void (*at_end_of_thread)(void*)) noexcept __asm__("pthread_key_create");
int pthread_setspecific(pthread_key_t key, void const* value) noexcept __asm__("pthread_setspecific");
unsigned long getauxval(unsigned long wanted) noexcept __asm__("getauxval");

// What getauxval(3) is asked for (include/uapi/linux/auxvec.h).
inline constexpr unsigned long at_secure = 23;
inline constexpr unsigned long at_random = 25;
inline constexpr unsigned long at_vdso = 33;
inline constexpr unsigned long at_smallest_signal_stack = 51;

}  // namespace tocsin::detail::libc

namespace tocsin::posix {

namespace libc = tocsin::detail::libc;

}  // namespace tocsin::posix
