// error: tocsin: a fault does not wait to be read, it ends the process while its signal is blocked; use on_crash
// SPDX-License-Identifier: MIT
// A fault.
#include <tocsin/signalfd.hpp>

using namespace tocsin;

int main() {
    signal_descriptor<SIGSEGV> signals;
}
