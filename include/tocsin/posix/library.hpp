// SPDX-License-Identifier: MIT
// The library's own threads, and what a copy of the library gives to the others when it makes the table.
//
// Runs on any ordinary thread. The threads are started when a row first needs one, in each process anew, and never
// end. All signals are blocked in them but faults, which would otherwise end the process without a report, and the
// library's reserved signal.
#pragma once

#include <pthread.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include <new>

#include <tocsin/in_signal/entry.hpp>
#include <tocsin/posix/alternate_stack.hpp>
#include <tocsin/posix/directory.hpp>
#include <tocsin/posix/registry.hpp>
#include <tocsin/signal.hpp>

// The kernel-facing entry. It has C linkage so that debuggers, cores and `nm` show it under one plain name.
extern "C" [[gnu::visibility("hidden")]] inline void tocsin_entry(int signal, siginfo_t* info, void* context) {
    tocsin::in_signal::enter(signal, info, context);
}

namespace tocsin::posix {

// Every signal but the faults and the reserved one; those two stay open wherever the library blocks signals.
inline in_signal::kernel_set all_but_faults(in_signal::table const& in) noexcept {
    in_signal::kernel_set set = ~in_signal::kernel_set{0};
    for (int signal = 1; signal <= tocsin::detail::standard_signals; ++signal)
        if (is_fault(signal)) set &= ~in_signal::bit_of(signal);
    if (int const reserved = in.reserved_signal.load()) set &= ~in_signal::bit_of(reserved);
    return set;
}

inline void set_mask(in_signal::kernel_set wanted, in_signal::kernel_set* before = nullptr) noexcept {
    sigset_t libc_wanted;
    sigset_t libc_before;
    ::sigemptyset(&libc_wanted);
    ::memcpy(&libc_wanted, &wanted, sizeof wanted);
    ::pthread_sigmask(SIG_SETMASK, &libc_wanted, &libc_before);
    if (before != nullptr) ::memcpy(before, &libc_before, sizeof *before);
}

inline in_signal::kernel_set current_mask() noexcept {
    sigset_t libc_mask;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &libc_mask);
    in_signal::kernel_set mask;
    ::memcpy(&mask, &libc_mask, sizeof mask);
    return mask;
}

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
    ::free(given);
    ::prctl(PR_SET_NAME, service_names[start.name]);
    alternate_stack own;  // the thread never ends, and so this stack
    own.open(start.in->limit.alternate_stack);
    start.in->services[start.name].thread.store(in_signal::thread_pointer());
    return start.body(start.in);
}

inline int create_detached(thread_start* start) noexcept {
    pthread_attr_t attributes;
    if (int const refused = ::pthread_attr_init(&attributes)) return refused;
    ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_t thread;
    int const refused = ::pthread_create(&thread, &attributes, &run_service, start);
    ::pthread_attr_destroy(&attributes);
    return refused;
}

[[gnu::visibility("hidden")]] inline void note_exit() noexcept {
    if (in_signal::table* const in = in_signal::the_table.load())
        __atomic_store_n(&in->exiting, 1U, __ATOMIC_SEQ_CST);
}

// In the child, before it can have threads of its own: those that a fork left behind are inside nothing.
[[gnu::visibility("hidden")]] inline void note_fork() noexcept {
    if (in_signal::table* const in = in_signal::the_table.load()) adopt_process(*in);
}

}  // namespace detail

// Starts the thread of a service in this process, unless it runs already.
inline failure start_service(in_signal::table& in, in_signal::service_name name, void* (*body)(void*)) noexcept {
    table_lock const locked{in};
    in_signal::service& of = in.services[name];
    std::int32_t const self = in_signal::getpid();
    if (of.process.load() == self) return {};
    auto* const start = static_cast<detail::thread_start*>(::malloc(sizeof(detail::thread_start)));
    if (start == nullptr) return {ENOMEM, "malloc", 0};
    *start = {&in, name, body};
    of.work.store(1);  // whatever came before the thread was there
    in_signal::kernel_set before;
    set_mask(all_but_faults(in), &before);
    int const refused = detail::create_detached(start);
    set_mask(before);
    if (refused != 0) {
        ::free(start);
        return {refused, "pthread_create", 0};
    }
    of.process.store(self);
    return {};
}

// Gives the calling thread an alternate stack for the rest of its life.
[[gnu::visibility("hidden")]] inline failure keep_alternate_stack(in_signal::table& in) noexcept {
    static pthread_key_t key;
    static int const no_key = ::pthread_key_create(&key, [](void* stack) {
        static_cast<alternate_stack*>(stack)->close();
        ::free(stack);
    });
    if (no_key != 0) return {no_key, "pthread_key_create", 0};
    void* const memory = ::malloc(sizeof(alternate_stack));
    if (memory == nullptr) return {ENOMEM, "malloc", 0};
    auto* const stack = ::new (memory) alternate_stack;
    failure const refused = stack->open(in.limit.alternate_stack);
    if (refused || !stack->owns() || ::pthread_setspecific(key, stack) != 0) {
        stack->close();
        ::free(stack);
    }
    return refused;
}

[[gnu::visibility("hidden")]] inline constexpr in_signal::operations own_operations{
    sizeof(in_signal::operations), &tocsin_entry, &claim_signal, &withdraw_signal,
    &in_signal::deliver, &start_service, &keep_alternate_stack,
};

[[gnu::visibility("hidden")]] inline failure find_table(in_signal::table*& found) noexcept {
    return find_table([](in_signal::table& made) noexcept {
        made.operate = &own_operations;
        ::atexit(&detail::note_exit);
        ::pthread_atfork(nullptr, nullptr, &detail::note_fork);
    }, found);
}

}  // namespace tocsin::posix
