// SPDX-License-Identifier: MIT
// A thread as the owner of a guard's deferred rows, for a scope.
//
// Runs on any ordinary thread.
#pragma once

#include <tocsin/in_signal/owner.hpp>
#include <tocsin/in_signal/system.hpp>

namespace tocsin::posix {

class [[nodiscard]] ownership {
  public:
    explicit ownership(in_signal::owner_of_row& of) noexcept : of_{of} {
        of_.pointer.store(0);
        of_.process.store(in_signal::getpid());
        of_.thread.store(in_signal::gettid());
        of_.pointer.store(in_signal::thread_pointer());
    }
    // Unless another thread has become the owner since.
    ~ownership() { of_.pointer.replace(in_signal::thread_pointer(), 0); }
    ownership(ownership const&) = delete;
    ownership& operator=(ownership const&) = delete;

  private:
    in_signal::owner_of_row& of_;
};

}  // namespace tocsin::posix
