// error: tocsin: the function of retry answers as a system call does
// SPDX-License-Identifier: MIT
// There is no failure to see.
#include <tocsin/retry.hpp>

using namespace tocsin;

int main() {
    retry([] {});
}
