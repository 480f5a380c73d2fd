// error: tocsin: once() is for on<SIG...>(reaction)
// SPDX-License-Identifier: MIT
// A crash comes once.
#include <tocsin/guard.hpp>
#include <tocsin/chain.hpp>

using namespace tocsin;

int main() {
    guard signals{on_crash(chain).once()};
}
