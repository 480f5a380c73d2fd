// error: tocsin: the function of defer(f) is called as f() or f(delivery const&); give it such a shape
// SPDX-License-Identifier: MIT
// Two parameters.
#include <tocsin/defer.hpp>
#include <tocsin/guard.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGUSR1>(defer([](int, int) {}))};
}
