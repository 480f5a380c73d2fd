// error: tocsin: SIGSEGV is claimed by two rows; write on<SIGSEGV>(first, second)
// SPDX-License-Identifier: MIT
// A crash row claims every fault.
#include <tocsin/chain.hpp>
#include <tocsin/dump.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>

using namespace tocsin;

int main() {
    guard signals{on_crash(dump_threads), on<SIGSEGV>(in_handler([](delivery const&) noexcept {}), chain)};
}
