// SPDX-License-Identifier: MIT
// Every job of a server's life with signals in one table.
#include <cstdio>

#include <poll.h>

#include <tocsin/tocsin.hpp>

struct {
    void reload() { std::puts("reloaded"), std::fflush(stdout); }
} config;

// One turn of the loop: false when it is time to go.
bool serve_one(std::stop_token const& stop, int fd) {
    pollfd readable{fd, POLLIN, 0};
    poll(&readable, 1, 100);
    return !stop.stop_requested();
}

using namespace tocsin;

int main() {
    guard signals{
        on<SIGINT, SIGTERM>(request_stop),             // a second one takes the default disposition
        on<SIGHUP>(call([&] { config.reload(); })),    // any callable, on an ordinary thread
        on<SIGCHLD>(wake),                             // readable descriptor
        on<SIGPIPE>(ignore),
        on<SIGQUIT>(dump_threads),                     // every thread, and the process goes on
        on_crash(dump_threads),                        // every thread, then the previous disposition, then the core
        watchdog(30s)(dump_threads),                   // nobody fed it for 30 s
    };
    std::puts("ready"), std::fflush(stdout);
    while (serve_one(signals.stop_token(), signals.fd())) signals.feed();
}
