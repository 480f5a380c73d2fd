// error: tocsin: the function of in_handler(f) is called as f(delivery const&); give it that parameter
// SPDX-License-Identifier: MIT
// As sigaction(2) would have it with three parameters.
#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>

using namespace tocsin;

void old_style(int, siginfo_t*, void*) noexcept {}

int main() {
    guard signals{on<SIGUSR1>(in_handler(old_style))};
}
