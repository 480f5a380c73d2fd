// SPDX-License-Identifier: MIT
// Nobody reports.
#include "victims/victim.hpp"

int main(int words, char** word) {
    return tocsin::bench::crash(words, word, [] {});
}
