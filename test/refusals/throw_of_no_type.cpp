// error: tocsin: throw_as<E> makes an E of a delivery const&, or of nothing
// SPDX-License-Identifier: MIT
// Nobody knows the number.
#include <tocsin/guard.hpp>
#include <tocsin/throw_as.hpp>

using namespace tocsin;

struct numbered {
    explicit numbered(int);
};

int main() {
    guard signals{on<SIGTERM>(throw_as<numbered>)};
}
