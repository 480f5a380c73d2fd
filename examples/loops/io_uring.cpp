// SPDX-License-Identifier: MIT
// Signals in an io_uring(7) loop. Ends with 77 where the kernel refuses one.
#include "program.hpp"

#include <liburing.h>
#include <poll.h>

#include <cstring>

namespace {

// One request is one wakeup: each is asked for anew, behind the look at what has arrived.
void watch(io_uring& ring, int fd) {
    io_uring_sqe* const request = ::io_uring_get_sqe(&ring);
    ::io_uring_prep_poll_add(request, fd, POLLIN);
    ::io_uring_submit(&ring);
}

}  // namespace

int main() {
    return program::run([](program::signals_type& signals, program::tally& seen) {
        io_uring ring{};
        if (int const refused = ::io_uring_queue_init(8, &ring, 0); refused < 0) {
            std::printf("skipped: io_uring: %s\n", std::strerror(-refused));
            return 77;
        }
        watch(ring, signals.fd());
        program::say("ready");
        while (!seen.stopped()) {
            io_uring_cqe* done = nullptr;
            if (::io_uring_wait_cqe(&ring, &done) != 0) continue;  // a handler has interrupted it
            ::io_uring_cqe_seen(&ring, done);
            if (!seen.take(signals)) watch(ring, signals.fd());
        }
        ::io_uring_queue_exit(&ring);
        return 0;
    });
}
