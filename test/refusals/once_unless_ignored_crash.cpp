// error: tocsin: unless_ignored() is for on<SIG...>; a fault cannot be ignored
// SPDX-License-Identifier: MIT
// A fault that is ignored comes back for ever.
#include <tocsin/chain.hpp>
#include <tocsin/guard.hpp>

using namespace tocsin;

int main() {
    guard signals{on_crash(chain).unless_ignored()};
}
