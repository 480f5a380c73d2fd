// error: tocsin: a fault whose signal is blocked ends the process without a report; leave faults open
// SPDX-License-Identifier: MIT
// One of several is a fault.
#include <tocsin/block.hpp>

using namespace tocsin;

int main() {
    block<SIGTERM, SIGSEGV> here;
}
