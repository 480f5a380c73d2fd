// error: tocsin: guarded is for SEGV BUS FPE ILL TRAP SYS, which an instruction causes
// SPDX-License-Identifier: MIT
// No instruction causes it.
#include <tocsin/guarded.hpp>

using namespace tocsin;

int main() {
    guarded<SIGTERM>([] {});
}
