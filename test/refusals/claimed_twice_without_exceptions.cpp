// error: tocsin: SIGHUP is claimed by two rows; write on<SIGHUP>(first, second)
// SPDX-License-Identifier: MIT
// The constructor that reports into a variable.
#include <tocsin/guard.hpp>
#include <tocsin/ignore.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    int ec = 0;
    guard signals{ec, on<SIGHUP>(wake), on<SIGHUP>(ignore)};
}
