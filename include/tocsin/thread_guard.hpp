// SPDX-License-Identifier: MIT
// `thread_guard{"worker"}`: one line for each thread.
#pragma once

#include <sys/prctl.h>

#include <tocsin/error.hpp>
#include <tocsin/posix/library.hpp>
#include <tocsin/posix/refusal.hpp>

namespace tocsin {

// Gives the calling thread an alternate stack, so that an overflow of its own is reported, and a name for reports
// and debuggers, of which the kernel keeps 15 bytes. The destructor, on the same thread, puts back both. A large
// enough alternate stack that is there is kept. Throws tocsin::error where no memory is left.
class [[nodiscard]] thread_guard {
  public:
    thread_guard() { open(); }
    explicit thread_guard(char const* name) : named_{true} {
        ::prctl(PR_GET_NAME, before_);
        open();
        ::prctl(PR_SET_NAME, name);
    }
    ~thread_guard() {
        if (named_) ::prctl(PR_SET_NAME, before_);
    }
    thread_guard(thread_guard const&) = delete;
    thread_guard& operator=(thread_guard const&) = delete;

  private:
    void open() {
        constexpr std::size_t at_least = 65536;
        if (failure const refused = stack_.open(at_least)) posix::fail(refused);
    }

    posix::alternate_stack stack_;
    char before_[16] = {};
    bool named_ = false;
};

}  // namespace tocsin
