// SPDX-License-Identifier: MIT
// No crash handler at all, but the reader of source lines opened: what its memory costs in a death.
#include <tocsin/lines.hpp>

#include "victims/victim.hpp"

int main(int words, char** word) {
    using namespace tocsin;
    return bench::crash(words, word, [] {
        static in_signal::line_place place;
        static_cast<void>(posix::provide_lines(place));
    });
}
