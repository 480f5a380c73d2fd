// error: tocsin: in_handler(f) needs an f that is trivially copyable; capture references or plain values
// SPDX-License-Identifier: MIT
// A captured string.
#include <string>

#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>

using namespace tocsin;

int main() {
    std::string text;
    guard signals{on<SIGUSR1>(in_handler([text](delivery const&) noexcept {}))};
}
