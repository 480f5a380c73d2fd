// error: tocsin: on_crash is for SEGV BUS FPE ILL TRAP SYS ABRT; write on<SIG...> for other signals
// SPDX-License-Identifier: MIT
// SIGTERM is none.
#include <tocsin/dump.hpp>
#include <tocsin/guard.hpp>

using namespace tocsin;

int main() {
    guard signals{on_crash<SIGTERM>(dump_threads)};
}
