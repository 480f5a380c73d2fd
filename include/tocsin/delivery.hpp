// SPDX-License-Identifier: MIT
// One delivery of a signal: what arrived, from whom, carrying what.
//
// A value; runs anywhere, handlers included.
#pragma once

#include <signal.h>
#include <sys/types.h>
#include <ucontext.h>

#include <cstdint>

namespace tocsin {

// What a reaction gets to see of a signal. `pid`, `uid`, `value` and `pointer` mean something only if a process
// sent the signal; `address` only if the processor raised it. Accessors answer 0 or null where the kernel said
// nothing, never a field that holds something else.
class delivery {
  public:
    constexpr delivery() noexcept = default;
    // A watchdog's delivery has signal 0 and no more.
    explicit delivery(int signal) noexcept : signal_{signal} {}
    delivery(int signal, siginfo_t const& info, ucontext_t* context = nullptr) noexcept
        : signal_{signal}, code_{info.si_code}, context_{context} {
        if (is_from_processor()) {
            address_ = info.si_addr;
        } else if (carries_sender()) {
            pid_ = info.si_pid;
            uid_ = info.si_uid;
            if (carries_value()) pointer_ = info.si_value.sival_ptr;
            if (signal == SIGCHLD && code_ > 0) status_ = info.si_status;
        } else if (code_ == SI_TIMER || code_ == SI_MESGQ || code_ == SI_ASYNCIO) {
            pointer_ = info.si_value.sival_ptr;
        }
    }

    // 0 for a watchdog that nobody fed.
    int signal() const noexcept { return signal_; }
    // The siginfo's si_code: SI_USER, SI_QUEUE, SEGV_MAPERR, …
    int code() const noexcept { return code_; }
    // Who sent it, or which child changed its state.
    pid_t pid() const noexcept { return pid_; }
    uid_t uid() const noexcept { return uid_; }
    // What sigqueue(3) sent along, as a number and as the pointer it shares its bytes with.
    int value() const noexcept {
        sigval shared{};
        shared.sival_ptr = pointer_;
        return shared.sival_int;
    }
    void* pointer() const noexcept { return pointer_; }
    // The address of a true fault; null for a signal that was sent, whatever its siginfo claims.
    void* address() const noexcept { return address_; }
    // Exit status or signal of a child (SIGCHLD).
    int status() const noexcept { return status_; }
    // How many arrivals this delivery stands for. Signals that the kernel merged before it delivered them are not
    // in it: nobody can count those.
    unsigned long merged() const noexcept { return merged_; }
    // The interrupted state of the thread; null outside a handler.
    ucontext_t* context() const noexcept { return context_; }

    // The same delivery, standing for `arrivals` of them.
    delivery merged(unsigned long arrivals) const noexcept {
        delivery more = *this;
        more.merged_ = arrivals;
        return more;
    }

    // A fault that an instruction caused. A code of 0 or below, and SI_KERNEL, is not from an instruction
    // (sigaction(2): si_addr is valid for the positive codes of these signals).
    bool is_from_processor() const noexcept { return is_from_processor(signal_, code_); }
    static constexpr bool is_from_processor(int signal, int code) noexcept {
        bool const fault =
            signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL || signal == SIGTRAP;
        return fault && code > 0 && code != SI_KERNEL;
    }

  private:
    bool carries_sender() const noexcept {
        return code_ == SI_USER || code_ == SI_TKILL || carries_value() || (signal_ == SIGCHLD && code_ > 0);
    }
    bool carries_value() const noexcept { return code_ == SI_QUEUE; }

    int signal_ = 0;
    int code_ = 0;
    pid_t pid_ = 0;
    uid_t uid_ = 0;
    int status_ = 0;
    void* pointer_ = nullptr;
    void* address_ = nullptr;
    unsigned long merged_ = 1;
    ucontext_t* context_ = nullptr;
};

}  // namespace tocsin
