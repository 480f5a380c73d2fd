// refused: thread-local storage
// SPDX-License-Identifier: MIT
extern __thread int elsewhere;

namespace tocsin::in_signal {
int handler() { return elsewhere; }
}  // namespace tocsin::in_signal
