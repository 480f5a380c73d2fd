// SPDX-License-Identifier: MIT
// libuv's uv_signal.
#include <uv.h>

#include "peers/peer.hpp"

namespace {

using namespace tocsin::bench;

uv_signal_t watchers[65];
bool ready[65];

enter_peer const entered{{"libuv",
    [](int signal) {
        if (!ready[signal]) uv_signal_init(uv_default_loop(), &watchers[signal]);
        ready[signal] = true;
        uv_signal_start(&watchers[signal], [](uv_signal_t*, int which) { on_signal(which); }, signal);
    },
    [](int signal) { uv_signal_stop(&watchers[signal]); },
    [](bool wait) { uv_run(uv_default_loop(), wait ? UV_RUN_ONCE : UV_RUN_NOWAIT); }}};

}  // namespace
