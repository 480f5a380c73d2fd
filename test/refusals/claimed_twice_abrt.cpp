// error: tocsin: SIGABRT is claimed by two rows; write on<SIGABRT>(first, second)
// SPDX-License-Identifier: MIT
// SIGIOT is another name of SIGABRT.
#include <tocsin/chain.hpp>
#include <tocsin/dump.hpp>
#include <tocsin/guard.hpp>

using namespace tocsin;

int main() {
    guard signals{on_crash(dump_threads), on_crash<SIGIOT>(chain)};
}
