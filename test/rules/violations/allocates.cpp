// refused: calls operator new(unsigned long)
// SPDX-License-Identifier: MIT
// An allocating string, behind a helper outside the namespace.
#include <string>

inline std::string greet(int number) { return std::string(64, 'x') + std::to_string(number); }

namespace tocsin::in_signal {
void handler(int number) { greet(number); }
}  // namespace tocsin::in_signal
