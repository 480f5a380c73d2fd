// SPDX-License-Identifier: MIT
// The system calls that handlers make, answered by the model world.
//
// Runs in the model only. It declares as much of the real header as the registry, the entry and what they include
// need; whatever else they should come to need fails to compile here.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "posix/model/hooks.hpp"

namespace tocsin::in_signal {

using kernel_set = std::uint64_t;

constexpr kernel_set bit_of(int signal) noexcept { return kernel_set{1} << (signal - 1); }

// Copied by a step of its own, so that a disposition that one thread writes and another reads can be met half written.
class stepped_mask {
  public:
    constexpr stepped_mask(kernel_set value = 0) noexcept : value_{value} {}
    stepped_mask(stepped_mask const& other) noexcept : value_{other} {}
    stepped_mask& operator=(stepped_mask const& other) noexcept {
        kernel_set const value = other;
        model::before(&value_);
        value_ = value;
        model::wrote(&value_);
        return *this;
    }
    operator kernel_set() const noexcept {
        model::before(&value_);
        return value_;
    }

  private:
    kernel_set value_;
};

struct kernel_action {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)();
    stepped_mask mask;
};

template <class T>
long as_word(T* pointer) noexcept {
    return reinterpret_cast<long>(pointer);
}

// The short sleep of a waiting loop.
inline void nap(long) noexcept { model::wait_for_change(); }
// All operations are sequentially consistent here as it is.
inline long expedited_barrier() noexcept { return 0; }
inline long register_for_barrier() noexcept { return 0; }
inline void relax() noexcept { model::spin(); }
inline void yield() noexcept { model::spin(); }
inline void allow_unaligned() noexcept {}

inline int getpid() noexcept { return model::process(); }
inline int gettid() noexcept { return model::thread(); }
inline std::uintptr_t thread_pointer() noexcept { return model::thread_pointer(); }

int change_mask(int how, kernel_set const* set, kernel_set* old) noexcept;
int change_action(int signal, kernel_action const* action, kernel_action* old) noexcept;

inline int tgkill(int, int, int signal) noexcept { return model::send_to_thread(signal); }
inline int queue_to_thread(int, int, int signal, siginfo_t const*) noexcept {
    return model::send_to_thread(signal);
}
[[noreturn]] inline void exit_now(int) noexcept { model::end_process(); }

inline kernel_set interrupted_mask(ucontext_t const& context) noexcept {
    kernel_set mask;
    std::memcpy(&mask, &context.uc_sigmask, sizeof mask);
    return mask;
}
inline void set_interrupted_mask(ucontext_t& context, kernel_set mask) noexcept {
    std::memcpy(&context.uc_sigmask, &mask, sizeof mask);
}

}  // namespace tocsin::in_signal
