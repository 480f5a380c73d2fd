// error: tocsin: the function of guarded<SIG...>(f) is called as f(); give it such a shape
// SPDX-License-Identifier: MIT
// Nobody has the argument.
#include <tocsin/guarded.hpp>

using namespace tocsin;

int main() {
    guarded<SIGSEGV>([](int) {});
}
