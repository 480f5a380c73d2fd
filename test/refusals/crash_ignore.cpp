// error: tocsin: on_crash takes dump_threads, in_handler, chain and exit_with
// SPDX-License-Identifier: MIT
// ignore under on_crash.
#include <tocsin/guard.hpp>
#include <tocsin/ignore.hpp>

using namespace tocsin;

int main() {
    guard signals{on_crash(ignore)};
}
