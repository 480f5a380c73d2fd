// refused: calls malloc (malloc)
// SPDX-License-Identifier: MIT
// Only the address is taken here; who calls it is not to be seen in this object.
#include <cstdlib>

void* kept;
void remember(void (*)());

namespace tocsin::in_signal {
void handler() {
    remember([] { kept = std::malloc(16); });
}
}  // namespace tocsin::in_signal
