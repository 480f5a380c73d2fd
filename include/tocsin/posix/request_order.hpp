// SPDX-License-Identifier: MIT
// What those who ask for reports are given, and how often.
//
// Runs on any ordinary thread.
#pragma once

#include <cstdint>

#include <tocsin/failure.hpp>
#include <tocsin/in_signal/report.hpp>

namespace tocsin::posix {

// What is asked for. Borrows its texts until it is open.
struct request_order {
    char const* path = nullptr;         // of the socket or the file; '@' begins a name of the abstract namespace
    bool by_file = false;
    bool with_signals = true;           // threads that run are asked for their frames by the reserved signal
    bool this_thread_only = false;
    in_signal::report_writer writer = nullptr;
    int fd = 2;                         // of a report that a file has asked for
    bool directed = false;              // false: beside the file, with ".report" behind its name
    char const* report_path = nullptr;
    failure (*open_lines)(in_signal::line_place&) noexcept = nullptr;
};

// So many at once and then so many a second: whoever may ask is not to keep the process busy with reports.
class request_pace {
  public:
    // How long the next one has to wait, in nanoseconds; 0 counts it.
    std::uint64_t next(std::uint64_t now) noexcept {
        std::uint64_t const earned = (now - since_) / each;
        if (earned != 0) since_ = now;
        allowed_ = earned < burst - allowed_ ? allowed_ + static_cast<unsigned>(earned) : burst;
        if (allowed_ == 0) return since_ + each - now;
        --allowed_;
        return 0;
    }

    static constexpr std::uint64_t each = 100'000'000;
    static constexpr unsigned burst = 16;

  private:
    unsigned allowed_ = burst;
    std::uint64_t since_ = 0;
};

}  // namespace tocsin::posix
