// error: tocsin: retry(signals, f) asks a guard; retry(5s, f) is for a deadline
// SPDX-License-Identifier: MIT
// A number is no length of time.
#include <tocsin/retry.hpp>

using namespace tocsin;

int main() {
    int seconds = 5;
    retry(seconds, [] { return 0; });
}
