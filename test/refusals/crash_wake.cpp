// error: tocsin: on_crash takes dump_threads, in_handler, chain and exit_with
// SPDX-License-Identifier: MIT
// wake under on_crash.
#include <tocsin/dump.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    guard signals{on_crash(dump_threads, wake)};
}
