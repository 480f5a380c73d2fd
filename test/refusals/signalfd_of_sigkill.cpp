// error: tocsin: SIGKILL and SIGSTOP cannot be caught; take them out
// SPDX-License-Identifier: MIT
// In signal_descriptor<…>.
#include <tocsin/signalfd.hpp>

using namespace tocsin;

int main() {
    signal_descriptor<SIGKILL> signals;
}
