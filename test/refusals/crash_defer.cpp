// error: tocsin: on_crash takes dump_threads, in_handler, chain and exit_with
// SPDX-License-Identifier: MIT
// defer under on_crash.
#include <tocsin/defer.hpp>
#include <tocsin/dump.hpp>
#include <tocsin/guard.hpp>

using namespace tocsin;

int main() {
    guard signals{on_crash(dump_threads, defer([] {}))};
}
