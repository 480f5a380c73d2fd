// error: tocsin: this report has its place already; say to(fd) or to_file(path) once
// SPDX-License-Identifier: MIT
// A descriptor and a file.
#include <tocsin/dump.hpp>
#include <tocsin/guard.hpp>

using namespace tocsin;

int main() {
    guard signals{on<SIGQUIT>(dump_threads.to(1).to_file("dump.txt"))};
}
