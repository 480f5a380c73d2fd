// SPDX-License-Identifier: MIT
// Signals in a poll(2) loop.
#include "program.hpp"

#include <poll.h>

int main() {
    return program::run([](program::signals_type& signals, program::tally& seen) {
        pollfd watched{signals.fd(), POLLIN, 0};
        program::say("ready");
        while (!seen.stopped())
            if (::poll(&watched, 1, -1) == 1) seen.take(signals);  // else a handler has interrupted it
        return 0;
    });
}
