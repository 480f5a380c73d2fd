// SPDX-License-Identifier: MIT
// Floods: no wakeup is missed, and nothing that queues is lost. TOCSIN_STORM=full sends ten times as many.
#include "support/signals.hpp"

#include <tocsin/call.hpp>
#include <tocsin/defer.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/signalfd.hpp>
#include <tocsin/wake.hpp>
#include <tocsin/wakeup_fd.hpp>

#include <sys/mman.h>
#include <sys/socket.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

using namespace tocsin;
using namespace tocsin::test;

namespace {

constexpr milliseconds long_patience{300'000};

int times(int ordinary) {
    char const* const asked = std::getenv("TOCSIN_STORM");
    return asked != nullptr && std::strcmp(asked, "full") == 0 ? 10 * ordinary : ordinary;
}

// A number that this process and its children share.
std::atomic<int>& shared_number() {
    void* const page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require_in_child(page != MAP_FAILED);
    return *::new (page) std::atomic<int>{0};
}

// One signal at a time, each on a thread of its own, so that nothing but the descriptor tells the one that polls. What
// `look` finds behind it has to be everything: a round that found nothing would be the last one.
template <class Look>
void poll_rounds(int fd, int rounds, Look look) {
    std::atomic<int> answered{0};
    std::thread sender{[&] {
        for (int i = 1; i <= rounds; ++i) {
            ::raise(SIGUSR1);
            until([&] { return answered.load() == i; });
        }
    }};
    for (int seen = 0; seen < rounds;) {
        wait_readable(fd);
        seen += look();
        answered.store(seen);
    }
    sender.join();
    require_in_child(!readable(fd));
}

// From each sender everything, in its order.
class ledger {
  public:
    ledger(int senders, int each) : each_{each}, next_(static_cast<std::size_t>(senders)) {}

    void enter(delivery const& d) {
        auto const sender = static_cast<std::size_t>(d.value() / each_);
        require_in_child(d.merged() == 1 && sender < next_.size());
        require_in_child(d.value() % each_ == next_[sender]++);
        ++seen_;
        sum_ += d.value();
    }
    bool full() const { return seen_ == total(); }
    bool sum_is_right() const { return sum_ == total() * (total() - 1) / 2; }

  private:
    long total() const { return each_ * static_cast<long>(next_.size()); }

    int each_;
    std::vector<int> next_;
    long seen_ = 0;
    long sum_ = 0;
};

template <class Signals>
void take_from_senders(Signals& signals, int senders, int each) {
    std::vector<pid_t> started;
    for (int i = 0; i < senders; ++i) {
        pid_t const made = ::fork();
        if (made == 0) {
            for (int value = i * each; value < (i + 1) * each; ++value) queue_value(::getppid(), rt<1>, value);
            ::_exit(0);
        }
        started.push_back(made);
    }
    ledger book{senders, each};
    while (!book.full()) {
        wait_readable(signals.fd());
        for (auto const& d : signals.take()) book.enter(d);
    }
    require_in_child(book.sum_is_right());
    for (pid_t const each_sender : started) {
        int status = -1;
        require_in_child(::waitpid(each_sender, &status, 0) == each_sender && status == 0);
    }
    require_in_child(!readable(signals.fd()));
}

}  // namespace

TEST_CASE("poll, take: no round of very many is the last one", "[storm]") {
    in_child([] {
        guard signals{on<SIGUSR1>(wake)};
        poll_rounds(signals.fd(), times(100'000), [&] {
            int seen = 0;
            for (delivery const& d : signals.take()) seen += static_cast<int>(d.merged());
            return seen;
        });
    }, long_patience);
}

TEST_CASE("poll, take, check: what is deferred is there when the descriptor is readable", "[storm]") {
    in_child([] {
        int ran = 0;
        guard signals{on<SIGUSR1>(wake, defer([&](delivery const& d) { ran += static_cast<int>(d.merged()); }))};
        poll_rounds(signals.fd(), times(100'000), [&] {
            int const before = ran;
            for (delivery const& d : signals.take()) require_in_child(d.signal() == SIGUSR1);
            signals.check();
            return ran - before;
        });
    }, long_patience);
}

TEST_CASE("poll, drain, check: the same behind a byte in a socket", "[storm]") {
    in_child([] {
        int both[2];
        require_in_child(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both) == 0);
        wakeup_fd bytes{both[1]};
        int ran = 0;
        auto const note = [&](delivery const& d) { ran += static_cast<int>(d.merged()); };
        guard signals{on<SIGUSR1>(wake_byte(bytes), defer(note))};
        poll_rounds(both[0], times(100'000), [&] {
            int const before = ran;
            char buffer[64];
            while (::read(both[0], buffer, sizeof buffer) > 0) {
            }
            signals.check();
            return ran - before;
        });
    }, long_patience);
}

TEST_CASE("queued signals of eight processes: the sum is exact, and each one's order kept", "[storm]") {
    in_child([] {
        guard signals{on<rt<1>>(wake)};
        take_from_senders(signals, 8, times(12'500));
    }, long_patience);
}

TEST_CASE("queued signals of eight processes through a signalfd", "[storm]") {
    in_child([] {
        signal_descriptor<rt<1>> signals;
        take_from_senders(signals, 8, times(12'500));
    }, long_patience);
}

TEST_CASE("queued signals of eight processes on the dispatcher", "[storm]") {
    in_child([] {
        int const each = times(12'500);
        ledger book{8, each};
        std::atomic<bool> full{false};
        guard signals{on<rt<1>>(call([&](delivery const& d) {
            book.enter(d);
            full.store(book.full());
        }))};
        for (int i = 0; i < 8; ++i) {
            if (::fork() != 0) continue;
            for (int value = i * each; value < (i + 1) * each; ++value) queue_value(::getppid(), rt<1>, value);
            ::_exit(0);
        }
        while (::waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
        }
        until([&] { return full.load(); });
        require_in_child(book.sum_is_right());
    }, long_patience);
}

TEST_CASE("of a standard signal that floods, the last one is seen", "[storm]") {
    in_child([] {
        guard signals{on<SIGUSR1>(wake)};
        auto& state = shared_number();
        int const bursts = times(200);
        constexpr int of_each = 500;
        pid_t const sender = ::fork();
        if (sender == 0) {
            // what the receiver sees behind its last delivery has to be the last state
            for (int i = 1; i <= bursts * of_each; ++i) {
                state.store(i);
                ::kill(::getppid(), SIGUSR1);
                if (i % of_each == 0) until([&] { return state.load() < 0; });
            }
            ::_exit(0);
        }
        for (int burst = 1; burst <= bursts; ++burst) {
            int seen = 0;
            while (seen != burst * of_each) {
                wait_readable(signals.fd());
                for (delivery const& d : signals.take()) require_in_child(d.signal() == SIGUSR1 && d.pid() == sender);
                seen = state.load();
            }
            for (delivery const& d : signals.take()) require_in_child(d.signal() == SIGUSR1);
            state.store(-1);
        }
        int status = -1;
        require_in_child(::waitpid(sender, &status, 0) == sender && status == 0);
    }, long_patience);
}

TEST_CASE("a flood of one signal pushes out no other", "[storm]") {
    in_child([] {
        guard signals{on<SIGUSR1, SIGTERM>(wake)};
        pid_t const sender = ::fork();
        if (sender == 0) {
            for (int i = 0; i < times(70'000); ++i) ::kill(::getppid(), SIGUSR1);
            ::kill(::getppid(), SIGTERM);
            ::_exit(0);
        }
        // the loop is held meanwhile: it looks at nothing
        int status = -1;
        while (::waitpid(sender, &status, 0) < 0 && errno == EINTR) {
        }
        bool stopped = false;
        for (delivery const& d : signals.take()) stopped = stopped || d.signal() == SIGTERM;
        require_in_child(stopped && status == 0);
    }, long_patience);
}
