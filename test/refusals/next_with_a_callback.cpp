// error: tocsin: the awaiter of next(signals, awaiter) is called as awaiter(fd, go_on); give it these parameters
// SPDX-License-Identifier: MIT
// An awaiter without parameters.
#include <tocsin/awaitable.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGUSR1>(wake)};
    auto awaiter = [] {};
    next(signals, awaiter);
}
