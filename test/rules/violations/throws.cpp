// refused: an exception allocates
// SPDX-License-Identifier: MIT
namespace tocsin::in_signal {
void handler(int number) {
    if (number == 0) throw number;
}
}  // namespace tocsin::in_signal
