// refused: indirect call, not listed
// SPDX-License-Identifier: MIT
namespace tocsin::in_signal {
void (*chosen)(int) = nullptr;
void handler(int number) { chosen(number); }
}  // namespace tocsin::in_signal
