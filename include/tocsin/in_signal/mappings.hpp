// SPDX-License-Identifier: MIT
// What is mapped into this process, as /proc/self/maps lists it.
//
// Runs in the handler. Where /proc is hidden there is no list.
#pragma once

#include <tocsin/in_signal/format.hpp>
#include <tocsin/in_signal/system.hpp>

namespace tocsin::in_signal {

// One line of maps: "begin-end perms offset device inode path" (proc(5)).
struct mapping {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    std::uint64_t offset = 0;  // in the file
    bool readable = false;
    bool writable = false;
    bool executable = false;
    bool anonymous = false;    // of no file
    char path[256] = {};       // cut to what fits; ends with a zero
};

// Takes such a line apart; false if it is none.
inline bool parse_mapping(char const* text, std::size_t size, mapping& to) noexcept {
    std::size_t at = 0;
    auto const number = [&](std::uint64_t& value) noexcept {
        std::size_t const start = at;
        for (value = 0; at < size; ++at) {
            char const c = text[at];
            bool const digit = c >= '0' && c <= '9';
            if (!digit && (c < 'a' || c > 'f')) break;
            value = value << 4 | static_cast<std::uint64_t>(digit ? c - '0' : c - 'a' + 10);
        }
        return at != start;
    };
    auto const skip = [&](char c) noexcept { return at < size && text[at] == c ? ++at != 0 : false; };
    auto const skip_field = [&]() noexcept {
        while (at < size && text[at] != ' ') ++at;
        while (at < size && text[at] == ' ') ++at;
    };
    if (!number(to.begin) || !skip('-') || !number(to.end) || !skip(' ') || size - at < 5) return false;
    to.readable = text[at] == 'r';
    to.writable = text[at + 1] == 'w';
    to.executable = text[at + 2] == 'x';
    skip_field();
    if (!number(to.offset) || !skip(' ')) return false;
    skip_field();
    to.anonymous = at < size && text[at] == '0';
    skip_field();
    std::size_t used = 0;
    while (at < size && used + 1 < sizeof to.path) to.path[used++] = text[at++];
    to.path[used] = '\0';
    return true;
}

// Calls visit(mapping) for each mapping of the process, until that returns true. False if /proc does not tell.
template <class Visit>
bool each_mapping(Visit&& visit) noexcept {
    int const fd = openat(AT_FDCWD, "/proc/thread-self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    char text[1024];
    std::size_t held = 0;
    bool skipping = false;  // the rest of a line that was longer than the buffer
    for (bool done = false; !done;) {
        long const got = read(fd, text + held, sizeof text - held);
        if (got > 0) held += static_cast<std::size_t>(got);
        std::size_t start = 0;
        for (std::size_t i = 0; i < held && !done; ++i) {
            if (text[i] != '\n') continue;
            mapping found;
            if (!skipping && parse_mapping(text + start, i - start, found)) done = visit(found);
            skipping = false;
            start = i + 1;
        }
        if (got <= 0) break;
        if (start == 0 && held == sizeof text) {
            mapping found;
            if (!skipping && parse_mapping(text, held, found)) done = done || visit(found);
            skipping = true;
            start = held;
        }
        for (std::size_t i = start; i < held; ++i) text[i - start] = text[i];
        held -= start;
    }
    close(fd);
    return true;
}

}  // namespace tocsin::in_signal
