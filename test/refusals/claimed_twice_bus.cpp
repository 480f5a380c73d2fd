// error: tocsin: SIGBUS is claimed by two rows; write on<SIGBUS>(first, second)
// SPDX-License-Identifier: MIT
// Two narrowed crash rows.
#include <tocsin/chain.hpp>
#include <tocsin/dump.hpp>
#include <tocsin/guard.hpp>

using namespace tocsin;

int main() {
    guard signals{on_crash<SIGBUS, SIGSEGV>(dump_threads), on_crash<SIGBUS>(chain)};
}
