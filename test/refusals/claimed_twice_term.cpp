// error: tocsin: SIGTERM is claimed by two rows; write on<SIGTERM>(first, second)
// SPDX-License-Identifier: MIT
// One signal, two rows.
#include <tocsin/guard.hpp>
#include <tocsin/stop.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGINT, SIGTERM>(request_stop), on<SIGTERM>(wake)};
}
