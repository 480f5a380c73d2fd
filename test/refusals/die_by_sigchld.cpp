// error: tocsin: this signal does not end a process by default; name one that does
// SPDX-License-Identifier: MIT
// SIGCHLD is ignored by default.
#include <tocsin/die_by.hpp>

using namespace tocsin;

int main() {
    die_by<SIGCHLD>();
}
