// SPDX-License-Identifier: MIT
// The unit whose object code check_handlers.py reads: everything that can run in a handler, once.
//
// Never run. Each row of the guard makes the compiler write that row's own reactions; the addresses make it write
// what would otherwise only be inlined.
#include <tocsin/tocsin.hpp>

using namespace tocsin;
using namespace std::chrono_literals;

namespace {
struct user_function {
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
        on<SIGUSR2>(in_handler(user_function{}), dump_threads, wake, chain),
        on<SIGALRM>(in_handler(user_function{}), exit_with(3)),
        on<SIGWINCH>(wake).interrupting(),
        on<rt<3>>(wake),
        on_crash(dump_threads, chain),
        watchdog(30s)(dump_threads, request_stop),
    };
    guard forms{
        on<rt<4>>(dump_threads.as(json), chain),
        on<rt<5>>(dump_threads.as(collapsed), chain),
        on<rt<6>>(dump_threads.as(markup), chain),
        on<rt<7>>(dump_threads.as(faulthandler).without_registers(), chain),
    };
    thread_guard here{"probe"};
    trace step{"probing", 1};
    signals.feed();
    signals.check();
    for (delivery const& d : signals.take()) user_function::last = d.signal();
}

// What is documented as callable from any handler.
namespace tocsin::in_signal {
template <class Guard>
[[gnu::noinline]] void callable_anywhere(Guard& signals) {
    signals.feed();
    user_function::last = static_cast<int>(signals.pending()) + static_cast<int>(signals.stop_requested());
    user_function::last = tocsin::simulate(SIGURG) == simulation::handled;
    user_function::last = name(SIGURG).empty();
}
}  // namespace tocsin::in_signal

[[gnu::used]] void every_function() {
    guard signals{on<SIGURG>(defer([] {})), on<SIGTERM>(request_stop.every()), watchdog(1s)(wake)};
    in_signal::callable_anywhere(signals);
    user_function::last = dump(1);
}

[[gnu::used]] void* const addresses[] = {
    reinterpret_cast<void*>(&in_signal::enter),
    reinterpret_cast<void*>(&in_signal::deliver),
    reinterpret_cast<void*>(&in_signal::put_off),
    reinterpret_cast<void*>(&tocsin_entry),
    reinterpret_cast<void*>(&tocsin::simulate),
};
