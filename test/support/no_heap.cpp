// SPDX-License-Identifier: MIT
#include "support/no_heap.hpp"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstddef>

// glibc's own names of what is replaced here.
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);
}

namespace {

unsigned violations = 0;
char const* first = nullptr;

// By number and not by flag: SS_ONSTACK is what the kernel derives from the same comparison.
bool inside_a_handler() noexcept {
    stack_t stack{};
    return ::sigaltstack(nullptr, &stack) == 0 && (stack.ss_flags & SS_ONSTACK) != 0;
}

void note(char const* function) noexcept {
    int const kept = errno;
    if (inside_a_handler() && __atomic_fetch_add(&violations, 1, __ATOMIC_SEQ_CST) == 0) first = function;
    errno = kept;
}

// glibc gives pthread_mutex_lock no second name that can be linked. dlsym itself locks with the loader's own lock.
int lock(pthread_mutex_t* mutex) noexcept {
    using function = int (*)(pthread_mutex_t*);
    static function real = nullptr;
    function now = __atomic_load_n(&real, __ATOMIC_RELAXED);
    if (now == nullptr) {
        now = reinterpret_cast<function>(::dlsym(RTLD_NEXT, "pthread_mutex_lock"));
        __atomic_store_n(&real, now, __ATOMIC_RELAXED);
    }
    return now(mutex);
}

// Before main: a handler must not be the first to ask the loader.
[[gnu::constructor]] void resolve() noexcept {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    lock(&mutex);
    ::pthread_mutex_unlock(&mutex);
}

bool is_power_of_two(std::size_t number) noexcept { return number != 0 && (number & (number - 1)) == 0; }

}  // namespace

namespace tocsin::test {

unsigned no_heap_violations() noexcept { return __atomic_load_n(&violations, __ATOMIC_SEQ_CST); }
char const* no_heap_first() noexcept { return first; }

}  // namespace tocsin::test

extern "C" {

void* malloc(std::size_t bytes) noexcept {
    note("malloc");
    return __libc_malloc(bytes);
}

void* calloc(std::size_t count, std::size_t bytes) noexcept {
    note("calloc");
    return __libc_calloc(count, bytes);
}

void* realloc(void* old, std::size_t bytes) noexcept {
    note("realloc");
    return __libc_realloc(old, bytes);
}

void free(void* memory) noexcept {
    if (memory != nullptr) note("free");
    __libc_free(memory);
}

void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept {
    note("aligned_alloc");
    return __libc_memalign(alignment, bytes);
}

int posix_memalign(void** to, std::size_t alignment, std::size_t bytes) noexcept {
    note("posix_memalign");
    if (!is_power_of_two(alignment) || alignment % sizeof(void*) != 0) return EINVAL;
    void* const memory = __libc_memalign(alignment, bytes);
    if (memory == nullptr) return ENOMEM;
    *to = memory;
    return 0;
}

int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
    note("pthread_mutex_lock");
    return lock(mutex);
}

}  // extern "C"
