// SPDX-License-Identifier: MIT
// `dump_threads.with(lines)`: files, lines and inlined calls in reports, by libbacktrace.
//
// Runs on any ordinary thread; the handler's part is in_signal/lines.hpp. An opt-in header, not in <tocsin/tocsin.hpp>:
// a program that includes it links with -lbacktrace, which comes with GCC.
#pragma once

#include <tocsin/posix/line_reader.hpp>

namespace tocsin {

// Adds lines behind a report that is complete without them. Opened with the guard and not in a crash, which must not
// wait for the loader: 3 ms for a small program, 0.1 s for one of 50 MB, and more for libraries whose debug information
// is installed. Objects that are loaded later, and those without debug information, have no lines.
struct lines_t {
    static failure open(in_signal::line_place& place) noexcept { return posix::provide_lines(place); }
};
[[gnu::visibility("hidden")]] inline constexpr lines_t lines{};

}  // namespace tocsin
