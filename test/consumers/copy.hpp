// SPDX-License-Identifier: MIT
// One copy of the library in a process of several, as the program sees it across the border of an object.
//
// copy.cpp is compiled once for each object (executable, shared object, plugin), with COPY naming the function that
// answers with these operations; nothing else of the object is visible.
#pragma once

#include <pthread.h>

namespace consumers {

// Who reacted, in the order in which it happened. Appended to from handlers and from the dispatcher.
struct journal {
    static constexpr int room = 4096;
    int length;
    int tags[room];

    void note(int tag) noexcept {
        int const at = __atomic_fetch_add(&length, 1, __ATOMIC_SEQ_CST);
        if (at < room) __atomic_store_n(&tags[at], tag, __ATOMIC_SEQ_CST);
    }
    int size() const noexcept { return __atomic_load_n(&length, __ATOMIC_SEQ_CST); }
    void clear() noexcept { __atomic_store_n(&length, 0, __ATOMIC_SEQ_CST); }
};

struct copy {
    // Guards that answer by noting `tag` and then chain; null if the guard could not be installed.
    void* (*open_handler)(journal*, int tag);  // SIGUSR1, in the handler
    void* (*open_call)(journal*, int tag);     // SIGUSR2, on the dispatcher, and who that is is noted as well
    void (*close_handler)(void*);
    void (*close_call)(void*);
    void const* (*table)();                // the table of the process as this copy knows it
    unsigned (*records)();                 // the limit that the table was made with
    int (*simulate)(int signal);           // 1 if a guard has taken it
    pthread_t (*dispatcher)();             // the thread that the last call ran on
    void (*keep_open)(journal*, int tag);  // a guard of static storage, on SIGUSR1 in the handler
    void (*refuse)();                      // throws the tocsin::error of a guard on a closed descriptor
};

using copy_of = copy const* (*)();

}  // namespace consumers
