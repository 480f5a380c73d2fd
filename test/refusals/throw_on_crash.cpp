// error: tocsin: on_crash takes dump_threads, in_handler, chain and exit_with
// SPDX-License-Identifier: MIT
// There is no safe point behind a crash.
#include <tocsin/guard.hpp>
#include <tocsin/throw_as.hpp>

using namespace tocsin;

int main() {
    guard signals{on_crash(throw_as<>)};
}
