// SPDX-License-Identifier: MIT
// Reading memory that may not be there.
//
// Runs in the handler. A reader asks the kernel before it touches a page, and remembers the last page that
// answered: rt_sigprocmask(2) with a `how` that does not exist copies its set argument before it complains,
// so EFAULT means "not readable" and EINVAL "readable". It needs no descriptor, no /proc, no ptrace right,
// and passes seccomp filters that let a program live. The answer is about now: memory that another thread
// unmaps between the question and the read still faults.
#pragma once

#include <errno.h>

#include <tocsin/in_signal/system.hpp>

namespace tocsin::in_signal {

// True if the aligned 8 bytes around `address` can be read.
inline bool readable(std::uintptr_t address) noexcept {
    auto const* word = reinterpret_cast<kernel_set const*>(address & ~std::uintptr_t{7});
    if (word == nullptr) return false;  // a null set is "only tell", which the kernel answers with success
    return change_mask(-1, word, nullptr) != -EFAULT;
}

class careful_reader {
  public:
    // Reads a T from anywhere; false, and `to` untouched, where that is not possible.
    template <class T>
    bool read(std::uintptr_t address, T& to) noexcept {
        return read_bytes(address, &to, sizeof(T));
    }

    // Not instrumented: it reads other threads' stacks and red zones on purpose.
    __attribute__((no_sanitize("address"), no_sanitize("thread"))) bool read_bytes(
        std::uintptr_t address, void* to, std::size_t bytes) noexcept {
        if (bytes == 0) return true;
        std::uintptr_t const last = address + bytes - 1;
        if (last < address) return false;
        for (std::uintptr_t page = address & page_mask; page <= (last & page_mask); page += page_size)
            if (!page_readable(page)) return false;
        auto* out = static_cast<unsigned char*>(to);
        auto const* in = reinterpret_cast<unsigned char const volatile*>(address);
        for (std::size_t i = 0; i < bytes; ++i) out[i] = in[i];
        return true;
    }

    void forget() noexcept { known_[0] = known_[1] = 0; }

  private:
    // 4 KiB is the smallest page of both architectures; on larger pages the question is only asked more often.
    static constexpr std::uintptr_t page_size = 4096;
    static constexpr std::uintptr_t page_mask = ~(page_size - 1);

    bool page_readable(std::uintptr_t page) noexcept {
        if (page == 0) return false;
        std::uintptr_t& known = known_[(page / page_size) & 1];
        if (known == page) return true;
        if (!readable(page)) return false;
        known = page;
        return true;
    }

    std::uintptr_t known_[2]{};
};

}  // namespace tocsin::in_signal
