// SPDX-License-Identifier: MIT
// Signals in a libevent loop: a persistent event on the guard's descriptor.
#include "program.hpp"

#include <event2/event.h>

namespace {

struct watched {
    program::signals_type& signals;
    program::tally& seen;
    event_base* base;
};

void readable(evutil_socket_t, short, void* argument) {
    auto const& of = *static_cast<watched*>(argument);
    if (of.seen.take(of.signals)) ::event_base_loopbreak(of.base);
}

}  // namespace

int main() {
    return program::run([](program::signals_type& signals, program::tally& seen) {
        watched of{signals, seen, ::event_base_new()};
        event* const descriptor = ::event_new(of.base, signals.fd(), EV_READ | EV_PERSIST, &readable, &of);
        ::event_add(descriptor, nullptr);
        program::say("ready");
        ::event_base_dispatch(of.base);
        ::event_free(descriptor);
        ::event_base_free(of.base);
        return 0;
    });
}
