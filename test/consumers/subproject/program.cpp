// SPDX-License-Identifier: MIT
// A program that has the library from its build system. Usage: program RECORDS, the limit that it was built with.
#include <cstdlib>

#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main(int count, char** words) {
    guard signals{on<SIGTERM>(request_stop), on<SIGUSR1>(wake)};
    ::raise(SIGUSR1);
    bool seen = false;
    for (delivery const& each : signals.take()) seen = each.signal() == SIGUSR1;
    unsigned const records = in_signal::the_table.load()->limit.records;
    return seen && count == 2 && records == static_cast<unsigned>(std::atoi(words[1])) ? EXIT_SUCCESS
                                                                                       : EXIT_FAILURE;
}
