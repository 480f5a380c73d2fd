// refused: calls malloc (malloc)
// SPDX-License-Identifier: MIT
// A row's reaction outside the namespace: what it is given shows that it runs in a handler.
#include <cstdlib>

namespace tocsin::in_signal {
struct arrival;
}

void* kept;

int react(void*, tocsin::in_signal::arrival&) {
    kept = std::malloc(16);
    return 0;
}
