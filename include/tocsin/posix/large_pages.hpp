// SPDX-License-Identifier: MIT
// Memory that somebody else's code takes and keeps, in large pages.
//
// Runs on any ordinary thread. The kernel takes a process's memory back page by page when it ends: half a microsecond
// for each, while those who wait for the end wait. What was mapped since a moment, has no file and is in use as a whole
// is put into large pages (madvise(2), MADV_COLLAPSE, Linux 6.1): 512 times fewer, and not one byte more. What it
// holds stays, whoever it belongs to. Where the kernel does not do that, or pages are not of 4 KiB, nothing happens.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <tocsin/in_signal/mappings.hpp>

namespace tocsin::posix {

class new_memory {
  public:
    static constexpr std::size_t large_page = std::size_t{2} << 20;
    static constexpr std::size_t most_mappings = 512;  // of a process, or its memory stays as it is

    // The moment.
    new_memory() noexcept {
        known_ = in_signal::each_mapping([this](in_signal::mapping const& each) noexcept {
            if (!may_be_ours(each)) return false;
            if (count_ < most_mappings) there_[count_] = {each.begin, each.end};
            return ++count_ > most_mappings;
        });
        known_ = known_ && count_ <= most_mappings;
    }

    // How many large pages came of it.
    unsigned into_large_pages() const noexcept {
        unsigned made = 0;
        if (!known_ || ::sysconf(_SC_PAGESIZE) != small_page) return 0;
        in_signal::each_mapping([&](in_signal::mapping const& each) noexcept {
            if (!may_be_ours(each)) return false;
            std::uintptr_t at = (each.begin + large_page - 1) & ~(large_page - 1);
            for (; at < each.end && each.end - at >= large_page; at += large_page)
                if (is_new(at) && is_in_use(at)) made += collapse(at) ? 1U : 0U;
            return false;
        });
        return made;
    }

  private:
    static constexpr long small_page = 4096;
    struct range {
        std::uintptr_t begin, end;
    };

    static bool may_be_ours(in_signal::mapping const& each) noexcept {
        return each.anonymous && each.writable && each.path[0] == '\0';
    }
    bool is_new(std::uintptr_t page) const noexcept {
        for (std::size_t i = 0; i < count_; ++i)
            if (there_[i].begin < page + large_page && page < there_[i].end) return false;
        return true;
    }
    // A page that is not there would be made.
    static bool is_in_use(std::uintptr_t page) noexcept {
        unsigned char there[large_page / small_page];
        if (::mincore(reinterpret_cast<void*>(page), large_page, there) != 0) return false;
        for (unsigned char const each : there)
            if ((each & 1) == 0) return false;
        return true;
    }
    static bool collapse(std::uintptr_t page) noexcept {
        constexpr int collapse_now = 25;  // MADV_COLLAPSE, which older headers do not have
        return ::madvise(reinterpret_cast<void*>(page), large_page, collapse_now) == 0;
    }

    std::size_t count_ = 0;
    bool known_ = false;
    range there_[most_mappings];
};

}  // namespace tocsin::posix
