// refused: calls fprintf (fprintf)
// SPDX-License-Identifier: MIT
#include <cstdio>

namespace {
__attribute__((noinline)) void report(int number) { std::fprintf(stderr, "signal %d of %d\n", number, 64); }
}  // namespace

namespace tocsin::in_signal {
void handler(int number) { report(number); }
}  // namespace tocsin::in_signal
