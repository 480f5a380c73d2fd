// SPDX-License-Identifier: MIT
// An alternate stack for this thread's handlers, with a guard page below it.
//
// Runs on any ordinary thread. A thread without one that overflows its stack dies without a word, because the
// kernel has nowhere to put the handler's frame.
#pragma once

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tocsin/failure.hpp>
#include <tocsin/in_signal/slot.hpp>
#include <tocsin/libc_functions.hpp>

namespace tocsin::posix {

// Bytes that a handler of ours needs: the kernel's frame, whose size depends on the processor, and three times the
// largest use measured of our own code. That is a report's: 11 KiB, and 15 KiB under AddressSanitizer; a test of the
// reporter measures it anew.
inline std::size_t alternate_stack_need(std::size_t at_least) noexcept {
    constexpr std::size_t own_use = 3 * 16384;
    std::size_t const told = libc::getauxval(libc::at_smallest_signal_stack);
    std::size_t const need = (told > 2048 ? told : 2048) + own_use;
    return need > at_least ? need : at_least;
}

class alternate_stack {
  public:
    alternate_stack() noexcept = default;
    ~alternate_stack() { close(); }
    alternate_stack(alternate_stack const&) = delete;
    alternate_stack& operator=(alternate_stack const&) = delete;

    // Installs one for the calling thread, or adopts one that is there and large enough.
    failure open(std::size_t at_least) noexcept {
        std::size_t const need = alternate_stack_need(at_least);
        if (::sigaltstack(nullptr, &before_) != 0) return {errno, "sigaltstack", 0};
        if ((before_.ss_flags & SS_DISABLE) == 0 && before_.ss_size >= need) return {};
        std::size_t const page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
        std::size_t const usable = (need + page - 1) / page * page;
        void* const memory = ::mmap(nullptr, usable + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) return {errno, "mmap", 0};
        char* const bottom = static_cast<char*>(memory) + page;
        stack_t wanted{};
        wanted.ss_sp = bottom;
        wanted.ss_size = usable;
        if (::mprotect(bottom, usable, PROT_READ | PROT_WRITE) != 0) return give_up("mprotect", memory, usable + page);
        if (::sigaltstack(&wanted, nullptr) != 0) return give_up("sigaltstack", memory, usable + page);
        memory_ = memory;
        bytes_ = usable + page;
        bottom_ = bottom;
        return {};
    }

    // Puts back what was there, unless somebody has replaced ours. To be called on the thread that opened it.
    void close() noexcept {
        if (memory_ == nullptr) return;
        stack_t now{};
        if (::sigaltstack(nullptr, &now) == 0 && now.ss_sp == bottom_) {
            if ((now.ss_flags & SS_ONSTACK) != 0) return;  // a handler stands on it: better to leak
            if ((before_.ss_flags & SS_DISABLE) != 0) before_.ss_flags = SS_DISABLE;
            ::sigaltstack(&before_, nullptr);
        }
        ::munmap(memory_, bytes_);
        memory_ = nullptr;
    }

    // False if one that was there has been adopted.
    bool owns() const noexcept { return memory_ != nullptr; }

  private:
    static failure give_up(char const* call, void* memory, std::size_t bytes) noexcept {
        int const reason = errno;
        ::munmap(memory, bytes);
        return {reason, call, 0};
    }

    stack_t before_{};
    void* memory_ = nullptr;
    void* bottom_ = nullptr;
    std::size_t bytes_ = 0;
};

}  // namespace tocsin::posix
