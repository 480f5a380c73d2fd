// SPDX-License-Identifier: MIT
// Signals in a GLib main loop: a source on the guard's descriptor.
#include "program.hpp"

#include <glib-unix.h>

namespace {

struct watched {
    program::signals_type& signals;
    program::tally& seen;
    GMainLoop* loop;
};

gboolean readable(gint, GIOCondition, gpointer argument) {
    auto const& of = *static_cast<watched*>(argument);
    if (!of.seen.take(of.signals)) return G_SOURCE_CONTINUE;
    ::g_main_loop_quit(of.loop);
    return G_SOURCE_REMOVE;
}

}  // namespace

int main() {
    return program::run([](program::signals_type& signals, program::tally& seen) {
        GMainContext* const context = ::g_main_context_new();
        watched of{signals, seen, ::g_main_loop_new(context, FALSE)};
        // in the default context it is shorter: g_unix_fd_add(signals.fd(), G_IO_IN, &readable, &of)
        GSource* const source = ::g_unix_fd_source_new(signals.fd(), G_IO_IN);
        ::g_source_set_callback(source, G_SOURCE_FUNC(&readable), &of, nullptr);
        ::g_source_attach(source, context);
        program::say("ready");
        ::g_main_loop_run(of.loop);
        ::g_source_unref(source);
        ::g_main_loop_unref(of.loop);
        ::g_main_context_unref(context);
        return 0;
    });
}
