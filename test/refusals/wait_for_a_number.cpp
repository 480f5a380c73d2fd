// error: tocsin: wait_for takes a duration; say the unit: wait_for(set, 100ms)
// SPDX-License-Identifier: MIT
// A number without a unit.
#include <tocsin/wait.hpp>

using namespace tocsin;

int main() {
    static_cast<void>(wait_for(signal_set{SIGUSR1}, 5));
}
