// SPDX-License-Identifier: MIT
// What is lost in a storm? 70,000 signals behind a loop that stands still, and then one SIGTERM; a million queued
// real-time signals; two signals at full rate for a while. What counts is exact, so nothing here is a median.
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <atomic>
#include <new>

#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/wake.hpp>

#include "peers/peer.hpp"
#include "support/measure.hpp"

using namespace tocsin;
using namespace tocsin::bench;

namespace {

struct counters {
    std::atomic<unsigned long> first;  // of the flood
    std::atomic<unsigned long> second;
    std::atomic<unsigned> stage;
};
counters* seen;

void count(int signal) { (signal == SIGTERM ? seen->second : seen->first).fetch_add(1); }

template <class F>
pid_t start(F run) {
    seen->first = 0;
    seen->second = 0;
    seen->stage = 0;
    pid_t const pid = ::fork();
    if (pid == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        run();
        ::_exit(0);
    }
    return pid;
}

void await_stage(unsigned wanted) {
    double const end = wall_clock() + 20e9;
    while (seen->stage < wanted && wall_clock() < end) ::usleep(200);
}

void finish(pid_t pid) {
    double const end = wall_clock() + 5e9;
    while (wall_clock() < end)
        if (::waitpid(pid, nullptr, WNOHANG) == pid)
            return;
        else
            ::usleep(1000);
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
}

void print(char const* row, char const* who, role as, double value, char const* unit, std::string note = {}) {
    result shown{"storm", row, who, as, value, unit, 0, {}, std::move(note)};
    shown.print();
}
// `lost` is printed as the figure, and 0.5 is the target: none.
void print_lost(char const* row, char const* who, double lost, std::string note) {
    result shown{"storm", row, who, role::ours, lost, "lost", 0, target::at_most(0.5), std::move(note)};
    shown.print();
}

constexpr int flood = 70'000;

// The loop stands still while the flood arrives one at a time, from the loop's own thread, so that each has been
// handled before
// the next is sent; then SIGTERM; then it goes on until nothing comes.
template <class Open, class Turn>
void stand_still(Open open, Turn turn) {
    pid_t const pid = start([&] {
        open();
        long const self = ::syscall(SYS_gettid);
        for (int i = 0; i < flood; ++i) ::syscall(SYS_tgkill, ::getpid(), self, SIGUSR1);
        ::syscall(SYS_tgkill, ::getpid(), self, SIGTERM);
        double const end = wall_clock() + 0.3e9;
        while (wall_clock() < end) turn();
    });
    finish(pid);
}

void late_sigterm() {
    char const* const row = "70,000 signals behind a loop that stands still, then one SIGTERM";
    using guard_type = decltype(guard{on<SIGUSR1, SIGTERM>(wake)});
    guard_type* signals = nullptr;
    stand_still([&] { signals = new guard_type{on<SIGUSR1, SIGTERM>(wake)}; },
                [&] {
                    for (delivery const& each : signals->take()) {
                        count(each.signal());
                        if (each.signal() == SIGUSR1) seen->first.fetch_add(each.merged() - 1);
                    }
                });
    print_lost(row, "wake", seen->second == 1 ? 0 : 1, std::to_string(seen->first) + " of the others came");
    for (loop_peer const& each : loop_peers()) {
        stand_still(
            [&each] {
                on_signal = count;
                each.install(SIGUSR1);
                each.install(SIGTERM);
            },
            [&each] { each.turn(false); });
        print(row, each.name, role::peer, seen->second == 1 ? 0 : 1, "lost",
              std::to_string(seen->first) + " of the others came");
    }
    for (std::string const& name : absent_peers()) print_absent("storm", row, name);
}

void real_time() {
    unsigned long const total = quick() ? 50'000 : 1'000'000;
    pid_t const pid = start([total] {
        guard signals{on<rt<1>>(wake)};
        seen->stage = 1;
        unsigned long next = 0;
        while (next < total && ::getppid() != 1) {
            for (delivery const& each : signals.take()) {
                if (static_cast<unsigned long>(each.value()) != next)
                    seen->second.fetch_add(1);  // out of order
                ++next;
            }
            seen->first = next;
        }
    });
    await_stage(1);
    double const begin = wall_clock();
    for (unsigned long i = 0; i < total; ++i) {
        sigval value{};
        value.sival_int = static_cast<int>(i);
        while (::sigqueue(pid, SIGRTMIN + 1, value) != 0 && errno == EAGAIN) ::sched_yield();
    }
    double const spent = wall_clock() - begin;
    finish(pid);
    print_lost("10^6 queued real-time signals", "wake",
               static_cast<double>(total - seen->first) + static_cast<double>(seen->second.load()),
               std::to_string(total) + " sent in " + std::to_string(static_cast<long>(spent / 1e6)) +
                   " ms, in order");
}

void two_at_full_rate(double seconds) {
    pid_t const pid = start([] {
        guard signals{
            on<SIGUSR1, SIGUSR2>(in_handler([](delivery const& d) noexcept {
                                     (d.signal() == SIGUSR1 ? seen->first : seen->second).fetch_add(1);
                                 }),
                                 wake)};
        seen->stage = 1;
        while (seen->stage < 3)
            for (delivery const& each : signals.take()) use(each);
    });
    await_stage(1);
    double const begin = wall_clock();
    double silent = 0;  // the longest time in which neither was handled
    double last = begin;
    unsigned long before = 0;
    unsigned long sent = 0;
    while (wall_clock() - begin < seconds * 1e9) {
        for (int i = 0; i < 64; ++i, sent += 2) {
            ::kill(pid, SIGUSR1);
            ::kill(pid, SIGUSR2);
        }
        unsigned long const handled = seen->first + seen->second;
        double const now = wall_clock();
        if (handled != before) last = now;
        before = handled;
        silent = std::max(silent, now - last);
    }
    seen->stage = 3;
    finish(pid);
    char text[160];
    std::snprintf(text, sizeof text, "%.0f s, %.1f million sent, %lu and %lu handled", seconds,
                  static_cast<double>(sent) / 1e6, seen->first.load(), seen->second.load());
    result shown{"storm",
                 "two signals at full rate, the longest silence",
                 "in_handler, wake",
                 role::ours,
                 silent / 1e6,
                 "ms",
                 0,
                 target::at_most(500),
                 text};
    shown.print();
}

}  // namespace

int main(int words, char** word) {
    void* const memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    seen = ::new (memory) counters{};
    late_sigterm();
    real_time();
    two_at_full_rate(words > 1 ? std::atof(word[1]) : quick() ? 1 : 60);
}
