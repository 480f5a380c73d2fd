// SPDX-License-Identifier: MIT
// Boost.Stacktrace in the user's own handler, printed as its documentation shows it.
#include <signal.h>

#include <boost/stacktrace.hpp>
#include <iostream>

#include "victims/victim.hpp"

int main(int words, char** word) {
    return tocsin::bench::crash(words, word, [] {
        ::signal(SIGSEGV, [](int signal) {
            ::signal(signal, SIG_DFL);
            std::cerr << boost::stacktrace::stacktrace() << std::flush;
            ::raise(signal);
        });
    });
}
