// error: tocsin: no signal is named here; name one or more between < and >
// SPDX-License-Identifier: MIT
// No signal.
#include <tocsin/block.hpp>

using namespace tocsin;

int main() {
    unblock<> here;
}
