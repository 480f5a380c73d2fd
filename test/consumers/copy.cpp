// SPDX-License-Identifier: MIT
// See copy.hpp.
#include "copy.hpp"

#include <tocsin/tocsin.hpp>

#include <memory>

using namespace tocsin;
using consumers::journal;

namespace {

// Takes its time, so that a thread is inside when the guard goes.
struct note {
    journal* to;
    int tag;
    void operator()(delivery const&) const noexcept {
        to->note(tag);
        for (int volatile i = 0; i < 1000;) i = i + 1;
    }
};

auto handler_guard(journal* to, int tag) { return guard{on<SIGUSR1>(in_handler(note{to, tag}), chain)}; }

pthread_t ran_on;

struct note_thread {
    journal* to;
    int tag;
    void operator()() const noexcept {
        ran_on = ::pthread_self();
        to->note(tag);
    }
};

auto call_guard(journal* to, int tag) { return guard{on<SIGUSR2>(call(note_thread{to, tag}), chain)}; }

using handler_guard_type = decltype(handler_guard(nullptr, 0));
using call_guard_type = decltype(call_guard(nullptr, 0));

// Destroyed by exit, or by dlclose if this object goes earlier.
struct kept_guard {
    handler_guard_type* guard = nullptr;
    ~kept_guard() { delete guard; }
} kept;

constexpr consumers::copy operations{
    [](journal* to, int tag) -> void* { return new handler_guard_type{handler_guard(to, tag)}; },
    [](journal* to, int tag) -> void* { return new call_guard_type{call_guard(to, tag)}; },
    [](void* guard) { delete static_cast<handler_guard_type*>(guard); },
    [](void* guard) { delete static_cast<call_guard_type*>(guard); },
    []() -> void const* { return in_signal::the_table.load(); },
    [] { return in_signal::the_table.load()->limit.records; },
    [](int signal) -> int { return tocsin::simulate(signal) == simulation::handled; },
    [] { return ran_on; },
    [](journal* to, int tag) { kept.guard = new handler_guard_type{handler_guard(to, tag)}; },
    [] { guard never{on<SIGUSR1>(dump_threads.to(-1))}; },
};

}  // namespace

extern "C" [[gnu::visibility("default")]] consumers::copy const* COPY() { return &operations; }
