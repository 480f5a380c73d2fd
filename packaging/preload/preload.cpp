// SPDX-License-Identifier: MIT
// libtocsin-preload.so: what TOCSIN says, in a program that knows nothing of it.
//
//     TOCSIN="crash,quit,to=crash-{pid}.txt" LD_PRELOAD=/usr/lib/libtocsin-preload.so ./server
//
// Runs before main, on the only thread there is. Without TOCSIN, and in programs that run with more rights than their
// caller (AT_SECURE), it does nothing at all. It changes nothing in the environment: whatever the program starts
// reports as well, each process to its own {pid}. It stands in front of pthread_create, so that threads have alternate
// stacks, and in front of nothing else.
#include <sys/auxv.h>

#include <tocsin/environment.hpp>
#include <tocsin/posix/thread_cover.hpp>

namespace {

// Threads that libraries start before this object's turn has come are as they would be without it.
constinit tocsin::in_signal::atomic<std::uint32_t> covers_threads{0};

[[gnu::constructor]] void start_before_main() {
    if (::getauxval(AT_SECURE) == 0 && tocsin::from_environment()) covers_threads.store(1);
}

}  // namespace

extern "C" [[gnu::visibility("default"), gnu::used]] int pthread_create(pthread_t* thread,
                                                                        pthread_attr_t const* attributes,
                                                                        void* (*body)(void*),
                                                                        void* argument) noexcept {
    return tocsin::posix::create_thread(covers_threads.load() != 0, thread, attributes, body, argument);
}

extern "C" [[gnu::visibility("default"), gnu::used]] int thrd_create(thrd_t* thread, thrd_start_t body,
                                                                     void* argument) {
    return tocsin::posix::create_thrd(covers_threads.load() != 0, thread, body, argument);
}
