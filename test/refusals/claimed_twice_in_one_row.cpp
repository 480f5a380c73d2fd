// error: tocsin: a signal is named twice here; name it once
// SPDX-License-Identifier: MIT
// In one row.
#include <tocsin/guard.hpp>
#include <tocsin/stop.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGTERM, SIGINT, SIGTERM>(request_stop)};
}
