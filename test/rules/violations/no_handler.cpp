// refused: no handler found
// SPDX-License-Identifier: MIT
// tocsin::in_signal is named in the parameters only: this is an ordinary function.
namespace tocsin::in_signal {
struct slot;
}

void ordinary(tocsin::in_signal::slot*) {}
