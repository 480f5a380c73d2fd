// refused: not on the list
// SPDX-License-Identifier: MIT
// Sixteen bytes: the compilers call a library function that may lock.
struct wide {
    long low, high;
};
wide shared;

namespace tocsin::in_signal {
wide handler() {
    wide copy;
    __atomic_load(&shared, &copy, __ATOMIC_SEQ_CST);
    return copy;
}
}  // namespace tocsin::in_signal
