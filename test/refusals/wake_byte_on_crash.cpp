// error: tocsin: on_crash takes dump_threads, in_handler, chain and exit_with; the process is going down
// SPDX-License-Identifier: MIT
// A byte for a fault.
#include <tocsin/guard.hpp>
#include <tocsin/wakeup_fd.hpp>

using namespace tocsin;

int main() {
    wakeup_fd bytes{1};
    guard signals{on_crash(wake_byte(bytes))};
}
