// error: tocsin: ignore contradicts every other reaction of its row; take one of them out
// SPDX-License-Identifier: MIT
// ignore with another.
#include <tocsin/guard.hpp>
#include <tocsin/ignore.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGHUP>(wake, ignore)};
}
