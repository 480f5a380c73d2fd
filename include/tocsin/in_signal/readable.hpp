// SPDX-License-Identifier: MIT
// Whether memory is there.
//
// Runs in the handler. rt_sigprocmask(2) with a `how` that does not exist copies its set argument before it
// complains, so EFAULT means "not readable" and EINVAL "readable". It needs no descriptor, no /proc, no ptrace right,
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

}  // namespace tocsin::in_signal
