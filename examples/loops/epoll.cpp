// SPDX-License-Identifier: MIT
// Signals in an epoll(7) loop.
#include "program.hpp"

#include <sys/epoll.h>
#include <unistd.h>

int main() {
    return program::run([](program::signals_type& signals, program::tally& seen) {
        int const loop = ::epoll_create1(EPOLL_CLOEXEC);
        epoll_event interest{};
        interest.events = EPOLLIN;
        interest.data.fd = signals.fd();
        ::epoll_ctl(loop, EPOLL_CTL_ADD, signals.fd(), &interest);
        program::say("ready");
        for (epoll_event event{}; !seen.stopped();)
            if (::epoll_wait(loop, &event, 1, -1) == 1) seen.take(signals);  // else a handler has interrupted it
        ::epoll_ctl(loop, EPOLL_CTL_DEL, signals.fd(), nullptr);
        ::close(loop);
        return 0;
    });
}
