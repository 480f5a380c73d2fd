// refused: a function-local static takes a lock
// SPDX-License-Identifier: MIT
int first_use();

namespace tocsin::in_signal {
int handler() {
    static int const value = first_use();
    return value;
}
}  // namespace tocsin::in_signal
