// error: tocsin: rearm() needs a row with something to renew after fork
// SPDX-License-Identifier: MIT
// These rows are as live in a child as in the parent.
#include <tocsin/guard.hpp>
#include <tocsin/ignore.hpp>
#include <tocsin/in_handler.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGPIPE>(ignore), on<SIGHUP>(in_handler([](delivery const&) noexcept {}))};
    signals.rearm();
}
