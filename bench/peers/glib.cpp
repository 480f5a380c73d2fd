// SPDX-License-Identifier: MIT
// GLib's g_unix_signal_source. It takes the signals that POSIX had in 1988 and no other.
#include <glib-unix.h>
#include <glib.h>

#include "peers/peer.hpp"

namespace {

using namespace tocsin::bench;

guint sources[65];

enter_peer const entered{{"GLib",
    [](int signal) {
        sources[signal] = g_unix_signal_add(
            signal,
            [](void* which) -> gboolean {
                on_signal(static_cast<int>(reinterpret_cast<long>(which)));
                return G_SOURCE_CONTINUE;
            },
            reinterpret_cast<void*>(static_cast<long>(signal)));
    },
    [](int signal) { g_source_remove(sources[signal]); },
    [](bool wait) { g_main_context_iteration(nullptr, wait); }}};

}  // namespace
