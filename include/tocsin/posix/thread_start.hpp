// SPDX-License-Identifier: MIT
// When a thread was started, by which it is told apart from a later one with the same number.
//
// Runs on any ordinary thread.
#pragma once

#include <errno.h>
#include <fcntl.h>

#include <cstddef>
#include <cstdint>

#include <tocsin/in_signal/format.hpp>
#include <tocsin/in_signal/system.hpp>

namespace tocsin::posix {

// Field 22 of /proc/PID/task/TID/stat (proc(5)), in ticks since the machine's start; 0 where there is no such
// thread, or no /proc. The second field is the thread's name, which may hold anything: fields are counted
// from the last ')'.
inline std::uint64_t start_of_thread(int process, int thread) noexcept {
    char text[1024];
    in_signal::line path{text, 128};
    path.text("/proc/").decimal(static_cast<std::uint64_t>(process)).text("/task/");
    path.decimal(static_cast<std::uint64_t>(thread)).text("/stat").character('\0');
    int const fd = in_signal::openat(AT_FDCWD, path.data(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    long const got = in_signal::read(fd, text, sizeof text);  // one read gets all of it
    in_signal::close(fd);
    long at = got - 1;
    while (at > 0 && text[at] != ')') --at;
    for (int field = 2; at > 0 && at < got && field < 22; ++at)
        if (text[at] == ' ') ++field;
    std::uint64_t number = 0;
    for (; at > 0 && at < got && text[at] >= '0' && text[at] <= '9'; ++at)
        number = number * 10 + static_cast<std::uint64_t>(text[at] - '0');
    return number;
}

}  // namespace tocsin::posix
