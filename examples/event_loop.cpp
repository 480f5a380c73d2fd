// SPDX-License-Identifier: MIT
// Signals as one more readable descriptor in an epoll loop.
#include <cstdio>
#include <sys/epoll.h>

#include <tocsin/tocsin.hpp>

using namespace tocsin;

int main() {
    guard signals{
        on<SIGHUP, SIGUSR1, rt<0>>(wake),
        on<SIGINT, SIGTERM>(request_stop, wake),
    };
    int const loop = epoll_create1(EPOLL_CLOEXEC);
    epoll_event interest{};
    interest.events = EPOLLIN;
    interest.data.fd = signals.fd();
    epoll_ctl(loop, EPOLL_CTL_ADD, signals.fd(), &interest);
    std::puts("ready");
    std::fflush(stdout);
    while (!signals.stop_requested()) {
        epoll_event event{};
        if (epoll_wait(loop, &event, 1, -1) != 1) continue;
        for (delivery const& d : signals.take())
            std::printf("%s from %d, value %d, %lu times\n", name(d.signal()).c_str(), d.pid(), d.value(), d.merged());
        std::fflush(stdout);
    }
    std::puts("stopped");
}
