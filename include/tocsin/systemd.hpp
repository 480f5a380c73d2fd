// SPDX-License-Identifier: MIT
// `sd_watchdog`: tells systemd that the service is ready, that it is well, and that it is going.
//
// Runs on any ordinary thread; the watcher thread says that all is well, at half of the time that systemd allows, for
// as long as every watchdog of the process is fed. Once one has not been fed for its period, nothing is said, and
// systemd does what the unit's WatchdogSec and Restart say. The protocol is spoken directly (sd_notify(3): lines of
// text in one datagram to the socket that NOTIFY_SOCKET names), without libsystemd. Where the process was not started
// by systemd, or the words are for another process (WATCHDOG_PID), nothing is said.
#pragma once

#include <tocsin/posix/refusal.hpp>
#include <tocsin/posix/supervisor.hpp>

namespace tocsin {

// One in a process, for as long as it serves; guards may come and go meanwhile. STOPPING=1 is said at its end. Throws
// tocsin::error where the socket cannot be reached or a thread is refused; without exceptions it prints the error and
// aborts. In a forked child it says nothing.
class [[nodiscard]] sd_watchdog {
  public:
    sd_watchdog() {
        if (failure const refused = talk_.open()) posix::fail(refused);
    }
    ~sd_watchdog() {
        stopping();
        talk_.close();
    }
    sd_watchdog(sd_watchdog const&) = delete;
    sd_watchdog& operator=(sd_watchdog const&) = delete;

    // READY=1: the service has started. Answers 0, or the errno of what was refused.
    int ready() noexcept { return talk_.say("READY=1"); }
    // STOPPING=1, once.
    int stopping() noexcept {
        if (stopping_) return 0;
        stopping_ = true;
        return talk_.say("STOPPING=1");
    }

    // True if systemd listens.
    bool is_supervised() const noexcept { return talk_.connected(); }
    // True if systemd wants to hear that all is well.
    bool is_watched() const noexcept { return talk_.watched(); }

  private:
    posix::supervisor talk_;
    bool stopping_ = false;
};

}  // namespace tocsin
