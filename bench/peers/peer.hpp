// SPDX-License-Identifier: MIT
// Event loops that take signals, each behind the same three functions.
//
// A source of this folder is compiled where its library is installed, and enters itself in the list. The ones that are
// not are named in the table as absent.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace tocsin::bench {

struct loop_peer {
    char const* name;
    void (*install)(int signal);    // on_signal(signal) is to be called, from the loop
    void (*uninstall)(int signal);
    void (*turn)(bool wait);        // one turn of the loop
};

// What every peer's callback does.
inline void (*on_signal)(int signal) = [](int) {};

inline std::vector<loop_peer>& loop_peers() {
    static std::vector<loop_peer> all;
    return all;
}

struct enter_peer {
    explicit enter_peer(loop_peer peer) { loop_peers().push_back(peer); }
};

// Those of the known ones that are not here. The last four are never: no package, or another language.
inline std::vector<std::string> absent_peers() {
    std::vector<std::string> missing;
    for (char const* const known : {"libev", "libevent", "asio", "libuv", "GLib"}) {
        bool found = false;
        for (loop_peer const& each : loop_peers()) found = found || std::string{each.name} == known;
        if (!found) missing.emplace_back(known);
    }
    for (char const* const elsewhere : {"wg14_signals", "signal-hook", "Go", "asyncio"})
        missing.emplace_back(elsewhere);
    return missing;
}

}  // namespace tocsin::bench
