// SPDX-License-Identifier: MIT
// The unit whose object code check_handlers.py reads: everything that can run in a handler, once.
//
// Never run. Each row of the guard makes the compiler write that row's own reactions; the addresses make it
// write the functions that no row calls (GCC keeps all of them by an option, clang has none like it).
#include <tocsin/tocsin.hpp>

#include <tocsin/in_signal/atomic.hpp>
#include <tocsin/in_signal/entry.hpp>
#include <tocsin/in_signal/format.hpp>
#include <tocsin/in_signal/inbox.hpp>
#include <tocsin/in_signal/memory.hpp>
#include <tocsin/in_signal/module.hpp>
#include <tocsin/in_signal/reraise.hpp>
#include <tocsin/in_signal/slot.hpp>
#include <tocsin/in_signal/system.hpp>
#include <tocsin/in_signal/unwind.hpp>
#include <tocsin/in_signal/write.hpp>

using namespace tocsin;
using namespace std::chrono_literals;

namespace {
struct user_code {
    void operator()(delivery const& arrived) const noexcept { last = arrived.signal(); }
    static inline int volatile last = 0;
};
}  // namespace

[[gnu::used]] void every_row() {
    guard signals{
        on<SIGINT, SIGTERM>(request_stop),
        on<SIGHUP>(call([] {})),
        on<SIGCHLD>(wake),
        on<SIGUSR1>(defer([] {})),
        on<SIGPIPE>(ignore),
        on<SIGTSTP>(default_disposition),
        on<SIGQUIT>(dump_threads),
        on<SIGUSR2>(in_handler(user_code{}), dump_threads, wake, chain),
        on<SIGALRM>(in_handler(user_code{}), exit_with(3)),
        on<SIGWINCH>(wake).interrupting(),
        on<rt<3>>(wake),
        on_crash(dump_threads, chain),
        watchdog(30s)(dump_threads, request_stop),
    };
    thread_guard here{"probe"};
    signals.feed();
    signals.check();
    for (delivery const& d : signals.take()) user_code::last = d.signal();
}

[[gnu::used]] void every_function() {
    guard signals{on<SIGURG>(wake)};
    user_code::last = static_cast<int>(simulate(SIGURG));
}

[[gnu::used]] void* const addresses[] = {
    reinterpret_cast<void*>(&in_signal::enter),
    reinterpret_cast<void*>(&in_signal::deliver),
};
