// SPDX-License-Identifier: MIT
// The records of threads: made when a thread first says something of itself, given back when it ends.
//
// Runs on any ordinary thread. All copies of the library in the process share the records; a thread has one, however
// many copies it runs through. Records are carved out of pages that stay for ever. In a forked child the thread that
// forked keeps its record, under its new number, and all others are free.
#pragma once

#include <pthread.h>

#include <new>

#include <tocsin/in_signal/thread_record.hpp>
#include <tocsin/posix/library.hpp>

namespace tocsin::posix {

using in_signal::stack_bounds;
using in_signal::thread_record;

namespace detail {

[[gnu::visibility("hidden")]] inline constinit thread_local thread_record* own_record = nullptr;
[[gnu::visibility("hidden")]] inline constinit thread_local bool thread_is_ending = false;

inline constexpr std::size_t record_page_bytes = 4096;

// More free records, at the head of the list.
inline bool make_records(table& in) noexcept {
    std::uintptr_t const page = map_page(0, record_page_bytes);
    if (page == 0) return false;
    constexpr std::size_t count = record_page_bytes / sizeof(thread_record);
    thread_record* const first = reinterpret_cast<thread_record*>(page);
    for (std::size_t i = 0; i < count; ++i) {
        ::new (static_cast<void*>(first + i)) thread_record{};
        if (i + 1 < count) first[i].next = first + i + 1;
    }
    thread_record* head = in.threads.load();
    do {
        first[count - 1].next = head;
    } while (!in.threads.compare_exchange(head, first));
    return true;
}

// A record that nobody else uses; its `thread` says that it is in the making.
inline thread_record* claim_record(table& in) noexcept {
    std::int32_t const self = in_signal::getpid();
    for (;;) {
        for (thread_record* each = in.threads.load(); each != nullptr; each = each->next) {
            std::int32_t const of = each->thread.load();
            bool const left = of > 0 && each->may_outlive.load() != 0 &&
                              in_signal::tgkill(self, of, 0) == -ESRCH;
            if ((of == 0 || left) && each->thread.replace(of, in_signal::record_in_making)) return each;
        }
        if (!make_records(in)) return nullptr;
    }
}

// Nothing for the first thread of a process: its stack grows, and the C library would have to read /proc.
inline stack_bounds own_stack() noexcept {
    stack_bounds found;
    pthread_attr_t attributes;
    if (in_signal::gettid() == in_signal::getpid() || ::pthread_getattr_np(::pthread_self(), &attributes) != 0)
        return found;
    void* lowest = nullptr;
    std::size_t size = 0;
    std::size_t guard = 0;
    if (::pthread_attr_getstack(&attributes, &lowest, &size) == 0 &&
        ::pthread_attr_getguardsize(&attributes, &guard) == 0) {
        found.lowest = reinterpret_cast<std::uintptr_t>(lowest);
        found.highest = found.lowest + size;
        found.guard = guard;
    }
    ::pthread_attr_destroy(&attributes);
    return found;
}

inline void clear_record(thread_record& of) noexcept {
    of.name_size.store(0);
    of.innermost.store(nullptr);
    of.pointer.store(0);
    of.may_outlive.store(0);
    of.users = 0;
    of.stack = {};
}

// In the child of a fork, by the only thread it has.
inline void keep_own_record(table& in) noexcept {
    for (thread_record* each = in.threads.load(); each != nullptr; each = each->next) {
        if (each->thread.load() > 0 && each->pointer.load() == in_signal::thread_pointer()) {
            each->process.store(in_signal::getpid());
            each->thread.store(in_signal::gettid());
        } else if (each->thread.load() != 0) {
            clear_record(*each);
            each->thread.store(0);
        }
    }
}

[[gnu::visibility("hidden")]] inline void note_fork_of_records() noexcept {
    if (table* const in = in_signal::the_table.load()) keep_own_record(*in);
}

// Gives the record of this thread back when the thread ends. As an object of the thread, and not by a key: the C
// library keeps the object file that holds the destructor loaded until then.
struct [[gnu::visibility("hidden")]] record_keeper {
    ~record_keeper() {
        thread_is_ending = true;
        thread_record* const own = own_record;
        if (own == nullptr) return;
        // exit() destroys the objects of its thread, which then goes on: usually the first, or inside breadcrumbs.
        bool const goes_on = in_signal::gettid() == in_signal::getpid() || own->innermost.load() != nullptr;
        if (goes_on) {
            own->may_outlive.store(1);
            return;
        }
        own_record = nullptr;
        if (--own->users != 0) return;
        clear_record(*own);
        own->thread.store(0);
    }
};

[[gnu::visibility("hidden")]] inline void keep_record(thread_record& own) noexcept {
    static int const on_fork = ::pthread_atfork(nullptr, nullptr, &note_fork_of_records);
    static_cast<void>(on_fork);
    if (thread_is_ending) return own.may_outlive.store(1);
    ++own.users;
    static thread_local record_keeper const keeper;
    static_cast<void>(keeper);
}

[[gnu::visibility("hidden")]] inline thread_record* make_record(table& in) noexcept {
    int const self = in_signal::gettid();
    thread_record* own = in_signal::record_of(in, self);
    bool const of_another_copy = own != nullptr && own->pointer.load() == in_signal::thread_pointer();
    if (!of_another_copy) {
        // A thread that had the same number has not given its record back.
        if (own != nullptr) own->thread.store(in_signal::record_in_making);
        if (own == nullptr) own = claim_record(in);
        if (own == nullptr) return nullptr;
        clear_record(*own);
        own->stack = own_stack();
        own->pointer.store(in_signal::thread_pointer());
    }
    own->process.store(in.live_process->load());
    own->thread.store(self);
    own_record = own;
    keep_record(*own);
    return own;
}

}  // namespace detail

// The record of the calling thread, made if it has none; null where no memory can be had, and in a vforked child,
// whose memory is that of its parent. Not for handlers.
[[gnu::noinline]] [[gnu::visibility("hidden")]] inline thread_record* open_own_record() noexcept {
    table* in = nullptr;
    if (find_table(in)) return nullptr;
    std::int32_t const self = in_signal::getpid();
    if (in->live_process->load() == 0) adopt_process(*in);
    if (in->live_process->load() != self) return nullptr;
    if (thread_record* const own = detail::own_record) {
        own->process.store(self);
        own->thread.store(in_signal::gettid());
        return own;
    }
    return detail::make_record(*in);
}

// Asks the kernel only the first time in a thread.
[[gnu::visibility("hidden")]] inline thread_record* own_record() noexcept {
    thread_record* const own = detail::own_record;
    return own != nullptr ? own : open_own_record();
}

// By the thread itself. The name is copied, up to `longest_thread_name` bytes of it.
inline void name_record(thread_record& own, char const* name) noexcept {
    own.name_size.store_relaxed(0);
    in_signal::order_stores();
    std::uint32_t size = 0;
    for (; size < in_signal::longest_thread_name && name[size] != '\0'; ++size)
        __atomic_store_n(&own.name[size], name[size], __ATOMIC_RELAXED);
    own.name_size.store_release(size);
}

}  // namespace tocsin::posix
