// SPDX-License-Identifier: MIT
// Asio's signal_set.
#include <asio/io_context.hpp>
#include <asio/signal_set.hpp>

#include "peers/peer.hpp"

namespace {

using namespace tocsin::bench;

asio::io_context& context() {
    static asio::io_context made{1};
    return made;
}
asio::signal_set* sets[65];

void wait_again(int signal) {
    sets[signal]->async_wait([signal](asio::error_code const& error, int which) {
        if (error || sets[signal] == nullptr) return;
        wait_again(signal);
        on_signal(which);
    });
}

enter_peer const entered{{"asio",
    [](int signal) {
        sets[signal] = new asio::signal_set{context(), signal};
        wait_again(signal);
    },
    [](int signal) {
        delete sets[signal];
        sets[signal] = nullptr;
        context().restart();
        context().poll();
    },
    [](bool wait) {
        context().restart();
        wait ? context().run_one() : context().poll();
    }}};

}  // namespace
