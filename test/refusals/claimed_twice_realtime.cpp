// error: tocsin: a real-time signal is claimed by two rows
// SPDX-License-Identifier: MIT
// The numbers of real-time signals are known at run time, their distance from SIGRTMIN now.
#include <tocsin/call.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    guard signals{on<rt<3>>(wake), on<rt<4>, rt<3>>(call([] {}))};
}
