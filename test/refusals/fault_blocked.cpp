// error: tocsin: a fault whose signal is blocked ends the process without a report; leave faults open
// SPDX-License-Identifier: MIT
// block<SIGSEGV>.
#include <tocsin/block.hpp>

using namespace tocsin;

int main() {
    block<SIGSEGV> here;
}
