// error: tocsin: a handler must not throw; declare the function of in_handler(f) noexcept
// SPDX-License-Identifier: MIT
// A lambda without noexcept.
#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGUSR1>(in_handler([](delivery const&) {}))};
}
