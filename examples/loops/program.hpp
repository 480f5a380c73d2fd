// SPDX-License-Identifier: MIT
// What the programs in this folder have in common: everything but the loop.
//
// Runs on the thread of the loop. Each program counts the signals that another process sends it, until SIGTERM; then
// it takes its descriptor out of the loop again, and shows that nothing of it is left.
#pragma once

#include <dirent.h>

#include <cstdio>
#include <map>

#include <tocsin/tocsin.hpp>

namespace program {

using namespace tocsin;

inline void say(char const* text) {
    std::puts(text);
    std::fflush(stdout);
}

// The signals of all of them.
inline auto row() { return on<SIGUSR1, SIGTERM, SIGCHLD, rt<1>>(wake); }
using signals_type = guard<decltype(row())>;

// Counts, and says each standard signal at once, real-time ones every thousand.
class tally {
  public:
    void enter(delivery const& d) {
        if (d.signal() == SIGTERM) stop_ = true;
        if (d.signal() == rt<1>)
            enter_value(d.value());
        else
            std::printf("%s %lu\n", name(d.signal()).c_str(), counts_[d.signal()] += d.merged());
        std::fflush(stdout);
    }
    // Takes what has arrived. True once SIGTERM has.
    bool take(signals_type& signals) {
        for (delivery const& d : signals.take()) enter(d);
        return stop_;
    }
    bool stopped() const { return stop_; }
    void report() {
        std::printf("SIGUSR1 %lu, SIGCHLD %lu, SIGTERM %lu, values %lu, %s\n", counts_[SIGUSR1],
                    counts_[SIGCHLD], counts_[SIGTERM], values_, in_order_ ? "in order" : "OUT OF ORDER");
    }

  private:
    // A value is the sender's number and his count, so that each one's order is seen.
    void enter_value(int value) {
        int const sender = value >> 20;
        in_order_ = in_order_ && next_[sender]++ == (value & 0xfffff);
        if (++values_ % 1000 == 0) std::printf("values %lu\n", values_);
    }

    std::map<int, unsigned long> counts_;
    std::map<int, int> next_;
    unsigned long values_ = 0;
    bool in_order_ = true;
    bool stop_ = false;
};

inline void was_there_before(int) {}

// What was there before the guard and the loop, to be compared with what is there after them.
class surroundings {
  public:
    surroundings() {
        struct sigaction own {};
        own.sa_handler = &was_there_before;
        own.sa_flags = SA_RESTART;
        ::sigaction(SIGUSR1, &own, nullptr);
        ::sigaction(SIGUSR1, nullptr, &own);  // as the kernel tells it
        flags_ = own.sa_flags;
        descriptors_ = descriptors();
    }

    // The exit status of the program.
    int compare() const {
        struct sigaction now {};
        ::sigaction(SIGUSR1, nullptr, &now);
        bool back = now.sa_handler == &was_there_before && now.sa_flags == flags_;
        for (int const signal : {SIGTERM, SIGCHLD, SIGRTMIN + 1}) {
            ::sigaction(signal, nullptr, &now);
            back = back && now.sa_handler == SIG_DFL;
        }
        bool const closed = descriptors() == descriptors_;
        say(back ? "dispositions are back" : "DISPOSITIONS ARE LOST");
        say(closed ? "descriptors are closed" : "DESCRIPTORS ARE LEFT");
        return back && closed ? 0 : 1;
    }

  private:
    static int descriptors() {
        int count = 0;
        DIR* const folder = ::opendir("/proc/self/fd");
        while (::readdir(folder) != nullptr) ++count;
        ::closedir(folder);
        return count;
    }

    int flags_ = 0;
    int descriptors_ = 0;
};

// The program. `loop` watches signals.fd(), calls seen.take(signals) whenever it is readable until that is true, and
// leaves nothing behind. It answers the exit status: 0, or 77 where there can be no such loop here.
template <class Loop>
int run(Loop loop) {
    surroundings const before;
    {
        guard signals{row()};
        tally seen;
        if (int const refused = loop(signals, seen)) return refused;
        say(signals.check_ownership().empty() ? "the loop is gone, the guard is not" : "THE LOOP TOOK A SIGNAL");
        seen.report();
    }
    return before.compare();
}

}  // namespace program
