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
    int const answer = change_mask(-1, word, nullptr);
    if (answer == -EINVAL || answer == -EFAULT) return answer == -EINVAL;
    // A filter refuses it. futex(2), FUTEX_WAIT, reads its word before it looks whether to wait, here for no time.
    constexpr long wait_private = 0 | 128;
    timespec const at_once{};
    return system_call(SYS_futex, as_word(word), wait_private, 0, as_word(&at_once)) != -EFAULT;
}

// What one task may spend, in reads and steps. An ordinary frame of a stack costs 50 to 200. Once it does not
// suffice nothing is left.
struct work {
    std::uint64_t left;

    bool spend(std::uint64_t steps = 1) noexcept {
        bool const enough = left >= steps;
        left -= enough ? steps : left;
        return enough;
    }
};

// What a question to the kernel costs of it: addresses that somebody else has made up can ask for one each.
inline constexpr std::uint64_t work_of_question = 100;

class careful_reader {
  public:
    careful_reader() noexcept = default;
    explicit careful_reader(work& pays) noexcept : pays_{&pays} {}

    // Reads a T from anywhere; false, and `to` untouched, where that is not possible.
    template <class T>
    bool read(std::uintptr_t address, T& to) noexcept {
        return read_bytes(address, &to, sizeof(T));
    }

    bool read_bytes(std::uintptr_t address, void* to, std::size_t bytes) noexcept {
        if (bytes == 0) return true;
        std::uintptr_t const last = address + bytes - 1;
        if (last < address) return false;
        for (std::uintptr_t page = address & page_mask; page <= (last & page_mask); page += page_size)
            if (!page_readable(page)) return false;
        copy(address, static_cast<unsigned char*>(to), bytes);
        return true;
    }

    void forget() noexcept { known_[0] = known_[1] = 0; }

  private:
    // 4 KiB is the smallest page of both architectures; on larger pages the question is only asked more often.
    static constexpr std::uintptr_t page_size = 4096;
    static constexpr std::uintptr_t page_mask = ~(page_size - 1);

    // Memory of any type.
    using word __attribute__((may_alias)) = std::uint64_t;

    // By aligned words where there are some. Volatile, or compilers make it a call of memcpy, which sanitizers
    // replace; and not instrumented, as it reads other threads' stacks and red zones on purpose.
    __attribute__((no_sanitize("address"), no_sanitize("thread"))) static void copy(
        std::uintptr_t address, unsigned char* out, std::size_t bytes) noexcept {
        while (bytes != 0) {
            if (address % sizeof(word) == 0 && bytes >= sizeof(word)) {
                std::uint64_t const whole = *reinterpret_cast<word const volatile*>(address);
                __builtin_memcpy(out, &whole, sizeof whole);
                address += sizeof whole;
                out += sizeof whole;
                bytes -= sizeof whole;
            } else {
                *out++ = *reinterpret_cast<unsigned char const volatile*>(address++);
                --bytes;
            }
        }
    }

    bool page_readable(std::uintptr_t page) noexcept {
        if (page == 0) return false;
        std::uintptr_t& known = known_[(page / page_size) & 1];
        if (known == page) return true;
        if (pays_ != nullptr && !pays_->spend(work_of_question)) return false;
        if (!readable(page)) return false;
        known = page;
        return true;
    }

    std::uintptr_t known_[2]{};
    work* pays_ = nullptr;
};

}  // namespace tocsin::in_signal
