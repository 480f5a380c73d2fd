// SPDX-License-Identifier: MIT
// A guard with a crash row that shows source lines, by libbacktrace.
#include <tocsin/dump.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/lines.hpp>

#include "victims/victim.hpp"

int main(int words, char** word) {
    using namespace tocsin;
    return bench::crash(words, word, [] {
        static guard signals{on_crash(dump_threads.with(lines))};
        static_cast<void>(signals);
    });
}
