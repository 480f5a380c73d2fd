// error: tocsin: guarded is for SEGV BUS FPE ILL TRAP SYS, which an instruction causes
// SPDX-License-Identifier: MIT
// A real-time signal.
#include <tocsin/guarded.hpp>

using namespace tocsin;

int main() {
    guarded<rt<1>>([] {});
}
