// error: tocsin: the function of retry is called as f(), or with a deadline as f(time_left)
// SPDX-License-Identifier: MIT
// Nobody knows what is left.
#include <tocsin/retry.hpp>

using namespace tocsin;

int main() {
    retry([](time_left) { return 0; });
}
