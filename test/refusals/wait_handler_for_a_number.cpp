// error: tocsin: wait_handler_for takes a duration; say the unit: wait_handler_for(set, 100ms)
// SPDX-License-Identifier: MIT
// A number without a unit.
#include <tocsin/wait.hpp>

using namespace tocsin;

int main() {
    static_cast<void>(wait_handler_for(signal_set{SIGUSR1}, 5));
}
