// SPDX-License-Identifier: MIT
// libev's ev_signal.
#include <ev.h>

#include "peers/peer.hpp"

namespace {

using namespace tocsin::bench;

struct ev_loop* loop() {
    static struct ev_loop* const made = ev_default_loop(0);
    return made;
}
ev_signal watchers[2];
int used[2];

void call_back(struct ev_loop*, ev_signal* watcher, int) { on_signal(watcher->signum); }

enter_peer const entered{{"libev",
    [](int signal) {
        int const at = used[0] != 0;
        used[at] = signal;
        ev_signal_init(&watchers[at], call_back, signal);
        ev_signal_start(loop(), &watchers[at]);
    },
    [](int signal) {
        for (int at = 0; at < 2; ++at)
            if (used[at] == signal) {
                ev_signal_stop(loop(), &watchers[at]);
                used[at] = 0;
            }
    },
    [](bool wait) { ev_run(loop(), wait ? EVRUN_ONCE : EVRUN_NOWAIT); }}};

}  // namespace
