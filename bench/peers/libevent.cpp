// SPDX-License-Identifier: MIT
// libevent's evsignal.
#include <event2/event.h>

#include "peers/peer.hpp"

namespace {

using namespace tocsin::bench;

event_base* base() {
    static event_base* const made = event_base_new();
    return made;
}
event* events[65];

enter_peer const entered{{"libevent",
    [](int signal) {
        events[signal] = evsignal_new(
            base(), signal, [](int which, short, void*) { on_signal(which); }, nullptr);
        event_add(events[signal], nullptr);
    },
    [](int signal) {
        event_del(events[signal]);
        event_free(events[signal]);
    },
    [](bool wait) { event_base_loop(base(), wait ? EVLOOP_ONCE : EVLOOP_NONBLOCK); }}};

}  // namespace
