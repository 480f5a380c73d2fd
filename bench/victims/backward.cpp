// SPDX-License-Identifier: MIT
// backward-cpp, with libdw.
#define BACKWARD_HAS_DW 1
#include <backward.hpp>

#include "victims/victim.hpp"

int main(int words, char** word) {
    return tocsin::bench::crash(words, word, [] {
        static backward::SignalHandling const handler;
        static_cast<void>(handler);
    });
}
