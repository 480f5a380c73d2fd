// SPDX-License-Identifier: MIT
// Source lines in every report of a program: compiled into each target that uses the dependency tocsin-lines.
#include <tocsin/lines.hpp>

extern "C" [[gnu::visibility("hidden"), gnu::used]] int tocsin_open_lines(
    tocsin::in_signal::line_place& place) noexcept {
    return tocsin::lines.open(place).errno_code;
}
