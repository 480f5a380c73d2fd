// SPDX-License-Identifier: MIT
// An event loop's own signal support takes a signal from a guard, and stops: what it leaves behind is noticed, and put
// right on request. Built once for each loop; exits with 0, or says what is wrong.
#include <cstdio>

#include <tocsin/query.hpp>
#include <tocsin/tocsin.hpp>

#if defined(TAKER_ASIO)
#include <asio.hpp>
#elif defined(TAKER_LIBUV)
#include <uv.h>
#elif defined(TAKER_LIBEVENT)
#include <event2/event.h>
#elif defined(TAKER_GLIB)
#include <glib-unix.h>
#endif

using namespace tocsin;

namespace {

int failures = 0;
void require(bool ok, char const* what) {
    if (ok) return;
    std::printf("not so: %s\n", what);
    ++failures;
}

// Watches SIGUSR1 by the loop's own means while f() runs. True if it leaves the default where it found a handler.
#if defined(TAKER_ASIO)
template <class F>
bool with_own_watch(F f) {
    asio::io_context loop;
    asio::signal_set own{loop, SIGUSR1};
    f();
    own.clear();
    return true;
}
#elif defined(TAKER_LIBUV)
template <class F>
bool with_own_watch(F f) {
    uv_loop_t loop;
    uv_signal_t own;
    ::uv_loop_init(&loop);
    ::uv_signal_init(&loop, &own);
    ::uv_signal_start(&own, [](uv_signal_t*, int) {}, SIGUSR1);
    f();
    ::uv_signal_stop(&own);
    ::uv_close(reinterpret_cast<uv_handle_t*>(&own), nullptr);
    ::uv_run(&loop, UV_RUN_DEFAULT);
    ::uv_loop_close(&loop);
    return true;
}
#elif defined(TAKER_LIBEVENT)
template <class F>
bool with_own_watch(F f) {
    event_base* const loop = ::event_base_new();
    auto const nothing = [](evutil_socket_t, short, void*) {};
    event* const own = ::event_new(loop, SIGUSR1, EV_SIGNAL | EV_PERSIST, nothing, nullptr);
    ::event_add(own, nullptr);
    f();
    ::event_free(own);
    ::event_base_free(loop);
    return false;
}
#elif defined(TAKER_GLIB)
template <class F>
bool with_own_watch(F f) {
    GMainContext* const context = ::g_main_context_new();
    GSource* const own = ::g_unix_signal_source_new(SIGUSR1);
    ::g_source_set_callback(own, [](gpointer) -> gboolean { return G_SOURCE_CONTINUE; }, nullptr, nullptr);
    ::g_source_attach(own, context);
    f();
    ::g_source_destroy(own);
    ::g_source_unref(own);
    ::g_main_context_unref(context);
    return true;
}
#endif

template <class Guard>
bool arrives(Guard& signals) {
    ::raise(SIGUSR1);
    unsigned long seen = 0;
    for (delivery const& d : signals.take()) seen += d.merged();
    return seen == 1;
}

}  // namespace

int main() {
    {
        guard signals{on<SIGUSR1>(wake)};
        bool const leaves_default = with_own_watch([&] {
            require(query<SIGUSR1>().owner() == disposition_owner::foreign, "the loop has the signal");
            require(signals.check_ownership() == signal_set{SIGUSR1}, "the guard has noticed that the loop took it");
        });
        if (leaves_default) {
            require(query<SIGUSR1>().owner() == disposition_owner::by_default, "the loop leaves the default behind");
            require(signals.check_ownership() == signal_set{SIGUSR1}, "the guard has noticed what it left");
            require(signals.reinstall() == signal_set{SIGUSR1}, "the guard takes the signal back");
        }
        require(signals.check_ownership().empty() && arrives(signals), "the signal is the guard's again");

        // a guard that comes after the loop shares with it, and gives the signal back to it
        with_own_watch([&] {
            {
                guard both{on<SIGUSR1>(wake, chain)};
                require(arrives(both), "a later guard sees what the loop sees");
            }
            require(query<SIGUSR1>().owner() == disposition_owner::foreign, "the loop has the signal again");
        });
        if (leaves_default) signals.reinstall();
        require(arrives(signals), "the signal is the guard's once more");
    }
    require(query<SIGUSR1>().owner() == disposition_owner::by_default, "the default is back at the end");
    std::puts(failures == 0 ? "taken, noticed, put right" : "failed");
    return failures == 0 ? 0 : 1;
}
