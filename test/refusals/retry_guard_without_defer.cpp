// error: tocsin: check() needs a deferred row; add on<SIG...>(defer(f))
// SPDX-License-Identifier: MIT
// There is nothing to run between the tries.
#include <tocsin/guard.hpp>
#include <tocsin/retry.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGHUP>(wake)};
    retry(signals, [] { return 0; });
}
