// refused: thread-local storage
// SPDX-License-Identifier: MIT
static thread_local int depth = 0;

namespace tocsin::in_signal {
void handler() { ++depth; }
}  // namespace tocsin::in_signal
