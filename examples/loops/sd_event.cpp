// SPDX-License-Identifier: MIT
// Signals in an sd-event(3) loop: an I/O source on the guard's descriptor. (sd_event_add_signal(3) would need the
// signals blocked in every thread.)
#include "program.hpp"

#include <systemd/sd-event.h>

#include <sys/epoll.h>

namespace {

struct watched {
    program::signals_type& signals;
    program::tally& seen;
};

int readable(sd_event_source* source, int, std::uint32_t, void* argument) {
    auto const& of = *static_cast<watched*>(argument);
    return of.seen.take(of.signals) ? ::sd_event_exit(::sd_event_source_get_event(source), 0) : 0;
}

}  // namespace

int main() {
    return program::run([](program::signals_type& signals, program::tally& seen) {
        watched of{signals, seen};
        sd_event* loop = nullptr;
        sd_event_source* source = nullptr;
        if (::sd_event_new(&loop) < 0) return 1;
        ::sd_event_add_io(loop, &source, signals.fd(), EPOLLIN, &readable, &of);
        program::say("ready");
        int const code = ::sd_event_loop(loop);
        ::sd_event_source_unref(source);
        ::sd_event_unref(loop);
        return code;
    });
}
