// error: tocsin: guarded is for SEGV BUS FPE ILL TRAP SYS, which an instruction causes
// SPDX-License-Identifier: MIT
// What abort(3) is in the middle of would stay so.
#include <tocsin/guarded.hpp>

using namespace tocsin;

int main() {
    guarded<SIGSEGV, SIGABRT>([] {});
}
