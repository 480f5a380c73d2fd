// error: tocsin: once() is for on<SIG...>(reaction)
// SPDX-License-Identifier: MIT
// To ignore has no first time.
#include <tocsin/guard.hpp>
#include <tocsin/ignore.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGHUP>(ignore).once()};
}
