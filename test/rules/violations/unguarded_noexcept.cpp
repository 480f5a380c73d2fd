// refused: not on the list
// SPDX-License-Identifier: MIT
// What may throw inside noexcept reaches std::terminate.
void may_throw();

namespace tocsin::in_signal {
void handler() noexcept { may_throw(); }
}  // namespace tocsin::in_signal
