// error: tocsin: this row is for one signal already; say once() once
// SPDX-License-Identifier: MIT
// Said twice.
#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGHUP>(wake).once().once()};
}
