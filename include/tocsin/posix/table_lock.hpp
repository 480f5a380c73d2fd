// SPDX-License-Identifier: MIT
// The lock of those who write the table.
//
// Runs on any ordinary thread; handlers never take it. It names its owner, so that a forked child can take over
// from a thread that it does not have: every step of the protocols behind it leaves the table consistent.
#pragma once

#include <tocsin/in_signal/slot.hpp>

namespace tocsin::posix {

// Waits a little longer each time it is asked: pause, yield, then short sleeps.
class patience {
  public:
    [[gnu::cold]] void wait() noexcept {
        if (rounds_ < 16)
            in_signal::relax();
        else if (rounds_ < 64)
            in_signal::yield();
        else
            in_signal::nap(50'000);
        ++rounds_;
    }
    // True once waiting has become unusual; the naps since then have taken `naps` times 50 us or more.
    bool exhausted(unsigned naps = 0) const noexcept { return rounds_ >= 64 + naps; }

  private:
    unsigned rounds_ = 0;
};

class table_lock {
  public:
    [[gnu::noinline, gnu::cold]] explicit table_lock(in_signal::table& table) noexcept : table_{table} {
        std::uint64_t const self = me(table);
        patience turn;
        for (;;) {
            std::uint64_t found = 0;
            if (table_.lock.compare_exchange(found, self)) return;
            bool const left_by_fork = found >> 32 != self >> 32;
            if (left_by_fork && table_.lock.replace(found, self)) return;
            turn.wait();
        }
    }
    ~table_lock() { table_.lock.store(0); }
    table_lock(table_lock const&) = delete;
    table_lock& operator=(table_lock const&) = delete;

  private:
    // Only the process is compared. It is asked of the page that fork wipes: a system call only in a forked child that
    // has not said yet who it is.
    static std::uint64_t me(in_signal::table& table) noexcept {
        std::int32_t const live = table.live_process->load();
        std::int32_t const process = live != 0 ? live : in_signal::getpid();
        return static_cast<std::uint64_t>(process) << 32 |
               static_cast<std::uint32_t>(in_signal::thread_pointer() >> 6);
    }

    in_signal::table& table_;
};

}  // namespace tocsin::posix
