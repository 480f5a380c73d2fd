// SPDX-License-Identifier: MIT
// Every thread that the program starts has an alternate stack, so that an overflow of its stack is reported.
//
// An opt-in header, to be included in exactly one unit of the executable: it defines pthread_create and thrd_create,
// which stand in front of those of the C library for all objects of the process that the loader binds, std::thread
// among them. A thread_guard is not needed then but for names. Not for static programs, whose linker finds two
// pthread_create, and not for shared objects, which do not come first. Threads that the C library starts for itself
// (timer_create with SIGEV_THREAD, aio, getaddrinfo_a), and those of clone(2), stay without.
//
// Runs on any ordinary thread.
#pragma once

#include <tocsin/posix/thread_cover.hpp>

extern "C" [[gnu::visibility("default"), gnu::used]] int pthread_create(pthread_t* thread,
                                                                        pthread_attr_t const* attributes,
                                                                        void* (*body)(void*),
                                                                        void* argument) noexcept {
    return tocsin::posix::create_thread(true, thread, attributes, body, argument);
}

extern "C" [[gnu::visibility("default"), gnu::used]] int thrd_create(thrd_t* thread, thrd_start_t body,
                                                                     void* argument) {
    return tocsin::posix::create_thrd(true, thread, body, argument);
}
