// SPDX-License-Identifier: MIT
// `cover_running_threads()`: every thread that exists already has an alternate stack.
//
// For shared objects and static programs, which come too late for every_thread.hpp, or cannot use it. For threads that
// start later, each says thread_guard.
#pragma once

#include <tocsin/posix/refusal.hpp>
#include <tocsin/posix/running_threads.hpp>
#include <tocsin/posix/thread_cover.hpp>

namespace tocsin {

// Gives the calling thread, and each other thread that has none, an alternate stack, so that the overflow of its stack
// is reported. Answers how many threads stay without: they block every signal, or did not run for half a second. Each
// thread is interrupted once; a call that is never restarted, such as poll, fails with EINTR there (signal(7)). What is
// given to other threads, 64 KiB of address space each, of which the used pages cost memory, is never taken back.
// Throws tocsin::error where /proc, memory or a free real-time signal is missing; without exceptions it prints the
// error and aborts. Runs on any ordinary thread, one at a time.
inline unsigned cover_running_threads() {
    posix::table* in = nullptr;
    if (failure const refused = posix::find_table(in)) posix::fail(refused);
    posix::cover_this_thread();
    unsigned without = 0;
    if (failure const refused = posix::give_stacks(*in, without)) posix::fail(refused);
    return without;
}

}  // namespace tocsin
