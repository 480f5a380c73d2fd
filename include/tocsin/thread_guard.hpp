// SPDX-License-Identifier: MIT
// `thread_guard{"worker"}`: one line for each thread.
#pragma once

#include <tocsin/error.hpp>
#include <tocsin/posix/alternate_stack.hpp>
#include <tocsin/posix/library.hpp>
#include <tocsin/posix/refusal.hpp>
#include <tocsin/posix/thread_records.hpp>

namespace tocsin {

// Gives the calling thread an alternate stack, so that an overflow of its own is reported, and a name, of which reports
// show 63 bytes and the kernel, and with it debuggers, keeps 15. The text is copied. Tells the library where the
// thread's stack lies, so that an overflow is called one. The destructor, on the same thread, puts back stack and name.
// A large enough alternate stack that is there is kept. Throws tocsin::error where no memory is left; without
// exceptions it prints the error and aborts.
class [[nodiscard]] thread_guard {
  public:
    thread_guard() { open(); }
    explicit thread_guard(char const* name) : named_{name != nullptr} {
        open();
        if (!named_) return;
        in_signal::system_call(SYS_prctl, get_name, in_signal::as_word(before_));
        in_signal::copy_name(*record_, before_, __builtin_strlen(before_), long_before_);
        in_signal::system_call(SYS_prctl, set_name, in_signal::as_word(name));
        posix::name_record(*record_, name);
    }
    ~thread_guard() {
        if (!named_) return;
        in_signal::system_call(SYS_prctl, set_name, in_signal::as_word(before_));
        // Unless the thread has given it back, as it does before an object of static storage is destroyed.
        if (record_->pointer.load_relaxed() == in_signal::thread_pointer()) posix::name_record(*record_, long_before_);
    }
    thread_guard(thread_guard const&) = delete;
    thread_guard& operator=(thread_guard const&) = delete;

  private:
    static constexpr long set_name = 15;  // PR_SET_NAME (linux/prctl.h)
    static constexpr long get_name = 16;  // PR_GET_NAME

    void open() {
        constexpr std::size_t at_least = 65536;
        if (failure const refused = stack_.open(at_least)) posix::fail(refused);
        record_ = posix::open_own_record();
        if (record_ == nullptr) posix::fail({ENOMEM, "mmap", 0});
    }

    posix::alternate_stack stack_;
    posix::thread_record* record_ = nullptr;
    char before_[16] = {};
    char long_before_[in_signal::longest_thread_name + 1] = {};
    bool named_ = false;
};

}  // namespace tocsin
