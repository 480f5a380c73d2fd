// error: tocsin: SIGUSR2 is claimed by two rows; write on<SIGUSR2>(first, second)
// SPDX-License-Identifier: MIT
// By the same words.
#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGUSR2>(wake), on<SIGUSR2>(wake)};
}
