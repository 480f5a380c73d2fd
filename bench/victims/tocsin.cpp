// SPDX-License-Identifier: MIT
// A guard with a crash row.
#include <tocsin/dump.hpp>
#include <tocsin/guard.hpp>

#include "victims/victim.hpp"

int main(int words, char** word) {
    using namespace tocsin;
    return bench::crash(words, word, [] {
        static guard signals{on_crash(dump_threads)};
        static_cast<void>(signals);
    });
}
