// SPDX-License-Identifier: MIT
// The library's own threads.
//
// They are started when a row first needs one, in each process anew, and never end. All signals are blocked in them but
// faults, which would otherwise end the process without a report, and the library's reserved signal.
#pragma once

#include <new>

#include <tocsin/libc_functions.hpp>
#include <tocsin/posix/alternate_stack.hpp>
#include <tocsin/posix/library.hpp>

namespace tocsin::posix {

namespace detail {

struct thread_start {
    in_signal::table* in;
    in_signal::service_name name;
    void* (*body)(void*);
};

[[gnu::visibility("hidden")]] inline constexpr char const* service_names[] = {
    "tocsin-dispatch", "tocsin-report", "tocsin-watch", "tocsin-help"};

inline void* run_service(void* argument) {
    auto* const given = static_cast<thread_start*>(argument);
    thread_start const start = *given;
    delete given;
    constexpr long set_name = 15;  // PR_SET_NAME (linux/prctl.h)
    in_signal::system_call(SYS_prctl, set_name, in_signal::as_word(service_names[start.name]));
    alternate_stack own;  // the thread never ends, and so this stack
    own.open(start.in->limit.alternate_stack);
    start.in->services[start.name].thread.store(in_signal::thread_pointer());
    return start.body(start.in);
}

inline int create_detached(thread_start* start) noexcept {
    pthread_t thread;
    int const refused = libc::pthread_create(&thread, nullptr, &run_service, start);
    if (refused == 0) libc::pthread_detach(thread);
    return refused;
}

}  // namespace detail

// Starts the thread of a service in this process, unless it runs already. The object that holds this code has to be
// pinned.
inline failure start_service(in_signal::table& in, in_signal::service_name name, void* (*body)(void*)) noexcept {
    table_lock const locked{in};
    in_signal::service& of = in.services[name];
    std::int32_t const self = in_signal::getpid();
    if (of.process.load() == self) return {};
    auto* const start = ::new (std::nothrow) detail::thread_start{&in, name, body};
    if (start == nullptr) return {ENOMEM, "operator new", 0};
    of.work.store(1);  // whatever came before the thread was there
    in_signal::kernel_set before;
    set_mask(all_but_faults(in), &before);
    int const refused = detail::create_detached(start);
    set_mask(before);
    if (refused != 0) {
        delete start;
        return {refused, "pthread_create", 0};
    }
    of.process.store(self);
    return {};
}

}  // namespace tocsin::posix
