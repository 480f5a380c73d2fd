// refused: calls malloc (malloc)
// SPDX-License-Identifier: MIT
#include <cstdlib>

void* kept;

extern "C" void tocsin_entry(int) { kept = std::malloc(16); }
