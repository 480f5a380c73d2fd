// error: tocsin: this is not a reaction; wrap a callable in call(f), defer(f) or in_handler(f)
// SPDX-License-Identifier: MIT
// The same under on_crash.
#include <tocsin/guard.hpp>

using namespace tocsin;

int main() {
    guard signals{on_crash([](delivery const&) noexcept {})};
}
