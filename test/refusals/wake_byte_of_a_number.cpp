// error: tocsin: wake_byte(bytes) takes a wakeup_fd that outlives the guard; write wakeup_fd bytes{fd}; before it
// SPDX-License-Identifier: MIT
// A descriptor's number.
#include <tocsin/guard.hpp>
#include <tocsin/wakeup_fd.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGUSR1>(wake_byte(5))};
}
