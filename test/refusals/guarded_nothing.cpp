// error: tocsin: no signal is named here; name one or more between < and >
// SPDX-License-Identifier: MIT
// Guarded against nothing.
#include <tocsin/guarded.hpp>

using namespace tocsin;

int main() {
    guarded<>([] {});
}
