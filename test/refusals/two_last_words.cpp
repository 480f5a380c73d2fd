// error: tocsin: a row has one last word; keep one of chain, default_disposition and exit_with
// SPDX-License-Identifier: MIT
// Two ends.
#include <tocsin/chain.hpp>
#include <tocsin/exit_with.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGHUP>(wake, chain, exit_with(1))};
}
