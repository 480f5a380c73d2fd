// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/wake.hpp>

#include <fcntl.h>
#include <sys/resource.h>

#include <memory>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace tocsin;
using namespace tocsin::test;

namespace {

// A process that queues `count` values from `first` on and ends.
pid_t start_sender(pid_t to, int number, int first, int count) {
    pid_t const made = ::fork();
    if (made != 0) return made;
    for (int i = 0; i < count; ++i) queue_value(to, number, first + i);
    ::_exit(0);
}

void reap(pid_t sender) {
    int status = -1;
    while (::waitpid(sender, &status, 0) < 0 && errno == EINTR) {
    }
    require_in_child(status == 0);
}

// Checks what several senders send: from each of them everything, in its order.
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

// Takes in a poll loop until everything has come.
template <class Guard>
void take_all(Guard& signals, ledger& book) {
    while (!book.full()) {
        wait_readable(signals.fd());
        for (delivery const& d : signals.take()) book.enter(d);
    }
    require_in_child(book.sum_is_right());
}

void flood(int senders, int each) {
    test::spare_the_queue();
    guard signals{on<rt<1>>(wake)};
    std::vector<pid_t> started;
    for (int i = 0; i < senders; ++i) started.push_back(start_sender(::getpid(), rt<1>, i * each, each));
    ledger book{senders, each};
    take_all(signals, book);
    for (pid_t const each_sender : started) reap(each_sender);
    for (delivery const& d : signals.take()) require_in_child(d.signal() == 0);
    require_in_child(!readable(signals.fd()));
}

}  // namespace

TEST_CASE("the descriptor is readable from the first signal until everything has been taken", "[wake]") {
    in_child([] {
        guard signals{on<SIGUSR1>(wake)};
        require_in_child(!readable(signals.fd()));
        ::raise(SIGUSR1);
        require_in_child(readable(signals.fd()));
        int taken = 0;
        for (delivery const& d : signals.take()) taken += d.signal() == SIGUSR1;
        require_in_child(taken == 1);
        require_in_child(!readable(signals.fd()));
        for (delivery const& d : signals.take()) require_in_child(d.signal() == 0);
    });
}

TEST_CASE("the descriptor is closed by exec and does not block", "[wake]") {
    in_child([] {
        guard signals{on<SIGUSR1>(wake)};
        require_in_child((::fcntl(signals.fd(), F_GETFD) & FD_CLOEXEC) != 0);
        require_in_child((::fcntl(signals.fd(), F_GETFL) & O_NONBLOCK) != 0);
    });
}

TEST_CASE("a delivery says who sent it and with what", "[wake]") {
    in_child([] {
        guard signals{on<SIGUSR1, SIGUSR2, SIGCHLD>(wake)};
        pid_t const self = ::getpid();
        pid_t const sender = ::fork();
        if (sender == 0) {
            ::kill(self, SIGUSR1);
            queue_value(self, SIGUSR2, -5);
            ::_exit(6);
        }
        int seen = 0;
        while (seen != 3) {
            wait_readable(signals.fd());
            for (delivery const& d : signals.take()) {
                ++seen;
                require_in_child(d.pid() == sender && d.uid() == ::getuid() && d.merged() == 1);
                require_in_child(d.address() == nullptr && d.context() == nullptr);
                if (d.signal() == SIGUSR1) require_in_child(d.code() == SI_USER && d.value() == 0);
                if (d.signal() == SIGUSR2) require_in_child(d.code() == SI_QUEUE && d.value() == -5);
                if (d.signal() == SIGCHLD) require_in_child(d.code() == CLD_EXITED && d.status() == 6);
            }
        }
    });
}

TEST_CASE("arrivals of a standard signal are merged and counted, the first one's details kept", "[wake]") {
    in_child([] {
        guard signals{on<SIGUSR1>(wake)};
        queue_value(::getpid(), SIGUSR1, 1);
        for (int i = 2; i <= 5; ++i) queue_value(::getpid(), SIGUSR1, i);
        int seen = 0;
        for (delivery const& d : signals.take()) {
            ++seen;
            require_in_child(d.merged() == 5 && d.value() == 1);
        }
        require_in_child(seen == 1);
        ::raise(SIGUSR1);
        for (delivery const& d : signals.take()) require_in_child(d.merged() == 1 && d.value() == 0);
    });
}

TEST_CASE("real-time signals come one by one, in order, with their values", "[wake]") {
    in_child([] {
        guard signals{on<rt<2>, rt<0>>(wake)};
        for (int i = 0; i < 500; ++i) {
            queue_value(::getpid(), rt<2>, i);
            queue_value(::getpid(), rt<0>, 1000 + i);
        }
        int seen = 0;
        for (delivery const& d : signals.take()) {
            require_in_child(d.signal() == (seen < 500 ? rt<0> : rt<2>));
            require_in_child(d.value() == (seen < 500 ? 1000 + seen : seen - 500));
            require_in_child(d.merged() == 1);
            ++seen;
        }
        require_in_child(seen == 1000 && !readable(signals.fd()));
    });
}

TEST_CASE("what is not walked stays and keeps the descriptor readable", "[wake]") {
    in_child([] {
        guard signals{on<SIGUSR1, SIGUSR2, rt<0>>(wake)};
        ::raise(SIGUSR2);
        ::raise(SIGUSR1);
        for (int i = 0; i < 3; ++i) queue_value(::getpid(), rt<0>, i);
        for (int const expected : {SIGUSR1, SIGUSR2, SIGRTMIN, SIGRTMIN, SIGRTMIN}) {
            require_in_child(readable(signals.fd()));
            for (delivery const& d : signals.take()) {
                require_in_child(d.signal() == expected);
                break;
            }
        }
        require_in_child(!readable(signals.fd()));
    });
}

TEST_CASE("a range that is not walked at all takes nothing", "[wake]") {
    in_child([] {
        guard signals{on<SIGUSR1>(wake)};
        ::raise(SIGUSR1);
        { auto const unused = signals.take(); }
        require_in_child(readable(signals.fd()));
        int seen = 0;
        for (delivery const& d : signals.take()) seen += d.signal() == SIGUSR1;
        require_in_child(seen == 1);
    });
}

TEST_CASE("a range moves and is not copied", "[wake]") {
    static_assert(std::is_nothrow_move_constructible_v<arrivals>);
    static_assert(!std::is_copy_constructible_v<arrivals>);
    static_assert(!std::is_copy_assignable_v<arrivals>);
    in_child([] {
        guard signals{on<SIGUSR1, SIGUSR2>(wake)};
        ::raise(SIGUSR1);
        ::raise(SIGUSR2);
        auto first = signals.take();
        auto at = first.begin();
        require_in_child((*at).signal() == SIGUSR1);
        {
            auto second = std::move(first);
            require_in_child(second.begin()->signal() == SIGUSR2);
            require_in_child(!readable(signals.fd()));
        }
        require_in_child(!readable(signals.fd()));
    });
}

TEST_CASE("a signal that arrives while the range is walked is not lost", "[wake]") {
    in_child([] {
        guard signals{on<SIGUSR1, SIGUSR2>(wake)};
        ::raise(SIGUSR2);
        int later = 0;
        for (delivery const& d : signals.take()) {
            later += d.signal() == SIGUSR1;
            if (d.signal() == SIGUSR2) ::raise(SIGUSR2);
        }
        require_in_child(later == 0);
        require_in_child(readable(signals.fd()));
        for (delivery const& d : signals.take()) later += d.signal() == SIGUSR2;
        require_in_child(later == 1);
    });
}

TEST_CASE("two guards each have a descriptor and get only their own signals", "[wake]") {
    in_child([] {
        guard first{on<SIGUSR1>(wake)};
        guard second{on<SIGUSR2>(wake)};
        require_in_child(first.fd() != second.fd());
        ::raise(SIGUSR1);
        require_in_child(readable(first.fd()) && !readable(second.fd()));
    });
}

TEST_CASE("when several threads take, each delivery goes to one of them", "[wake]") {
    in_child([] {
        test::spare_the_queue();
        constexpr int count = 20'000;
        guard signals{on<rt<1>, SIGUSR1>(wake)};
        std::vector<in_signal::atomic<int>> seen(count);
        in_signal::atomic<int> total;
        in_signal::atomic<long> standard;
        auto const taker = [&] {
            while (total.load() < count) {
                pollfd ready{signals.fd(), POLLIN, 0};
                ::poll(&ready, 1, 1);
                for (delivery const& d : signals.take()) {
                    if (d.signal() == SIGUSR1) {
                        standard.fetch_add(static_cast<long>(d.merged()));
                        continue;
                    }
                    seen[static_cast<std::size_t>(d.value())].fetch_add(1);
                    total.fetch_add(1);
                }
            }
        };
        pid_t const sender = start_sender(::getpid(), rt<1>, 0, count);
        std::vector<std::thread> takers;
        for (int i = 0; i < 3; ++i) takers.emplace_back(taker);
        for (int i = 0; i < 1000; ++i) ::raise(SIGUSR1);
        for (std::thread& each : takers) each.join();
        reap(sender);
        for (auto const& each : seen) require_in_child(each.load() == 1);
        for (delivery const& d : signals.take()) standard.fetch_add(static_cast<long>(d.merged()));
        require_in_child(standard.load() == 1000);
        require_in_child(!readable(signals.fd()));
    }, milliseconds{60'000});
}

TEST_CASE("every standard signal is seen, whatever floods", "[wake]") {
    in_child([] {
        constexpr int count = 70'000;
        guard signals{on<rt<1>, SIGUSR1, SIGUSR2, SIGTERM, SIGHUP>(wake)};
        pid_t const self = ::getpid();
        pid_t const sender = start_sender(self, rt<1>, 0, count);
        pid_t const other = ::fork();
        if (other == 0) {
            for (int const number : {SIGUSR1, SIGUSR2, SIGTERM, SIGHUP}) ::kill(self, number);
            ::_exit(0);
        }
        ledger book{1, count};
        unsigned standard = 0;
        while (!book.full() || standard != 4) {
            wait_readable(signals.fd());
            for (delivery const& d : signals.take()) {
                if (d.signal() == rt<1>)
                    book.enter(d);
                else
                    ++standard;
            }
        }
        reap(sender);
        reap(other);
    }, milliseconds{60'000});
}

TEST_CASE("a hundred thousand queued signals all arrive, in the order of each sender", "[wake]") {
    in_child([] { flood(4, 25'000); }, milliseconds{60'000});
}

TEST_CASE("a million queued signals of eight senders all arrive through a record of 1024", "[wake][.slow]") {
    in_child([] { flood(8, 125'000); }, milliseconds{300'000});
}

TEST_CASE("nothing is dropped where the kernel's queue is small", "[wake]") {
    in_child([] {
        rlimit const limit{40, 40};
        require_in_child(::setrlimit(RLIMIT_SIGPENDING, &limit) == 0);
        flood(2, 3000);
    }, milliseconds{60'000});
}

TEST_CASE("a full record makes the receiving thread mask the signal, and another thread's take opens it", "[wake]") {
    in_child([] {
        test::spare_the_queue();
        constexpr int count = 30'000;
        guard signals{on<rt<1>>(wake)};
        in_signal::atomic<int> done;
        in_signal::atomic<int> receiver;
        std::thread receiving{[&] {
            receiver.store(::gettid());
            while (done.load() == 0) ::sched_yield();
        }};
        block_signal(rt<1>);
        until([&] { return receiver.load() != 0; });
        pid_t const sender = start_sender(::getpid(), rt<1>, 0, count);
        until([&] { return status_mask(receiver.load(), "SigBlk:") == in_signal::bit_of(rt<1>); });
        ledger book{1, count};
        take_all(signals, book);
        reap(sender);
        until([&] { return !has_signal(status_mask(receiver.load(), "SigBlk:"), rt<1>); });
        done.store(1);
        receiving.join();
    }, milliseconds{60'000});
}

TEST_CASE("a parked thread is opened also if it is asked while it runs another handler", "[wake]") {
    in_child([] {
        static in_signal::atomic<int> in_other;
        static in_signal::atomic<int> leave;
        guard signals{on<rt<1>>(wake), on<SIGUSR1>(in_handler([](delivery const&) noexcept {
                          in_other.store(1);
                          while (leave.load() == 0) in_signal::yield();
                      }))};
        in_signal::atomic<int> done;
        in_signal::atomic<int> receiver;
        std::thread receiving{[&] {
            receiver.store(::gettid());
            while (done.load() == 0) ::sched_yield();
        }};
        block_signal(rt<1>);
        until([&] { return receiver.load() != 0; });
        pid_t const sender = start_sender(::getpid(), rt<1>, 0, 2000);
        reap(sender);
        // nothing but that signal: not inside the handler, which masks everything
        until([&] { return status_mask(receiver.load(), "SigBlk:") == in_signal::bit_of(rt<1>); });
        ::syscall(SYS_tgkill, ::getpid(), receiver.load(), SIGUSR1);
        until([&] { return in_other.load() != 0; });
        int seen = 0;
        for (delivery const& d : signals.take()) require_in_child(d.value() == seen++);
        require_in_child(seen >= 1024);
        leave.store(1);
        while (seen < 2000) {
            wait_readable(signals.fd());
            for (delivery const& d : signals.take()) require_in_child(d.value() == seen++);
        }
        until([&] { return !has_signal(status_mask(receiver.load(), "SigBlk:"), rt<1>); });
        done.store(1);
        receiving.join();
    });
}

TEST_CASE("a parked thread is opened in a storm of other handlers", "[wake]") {
    in_child([] {
        test::spare_the_queue();
        constexpr int count = 50'000;
        guard signals{on<rt<1>>(wake), on<SIGUSR1>(in_handler([](delivery const&) noexcept {}))};
        in_signal::atomic<int> done;
        in_signal::atomic<int> receiver;
        std::thread receiving{[&] {
            receiver.store(::gettid());
            while (done.load() == 0) ::sched_yield();
        }};
        block_signal(rt<1>);
        block_signal(SIGUSR1);
        until([&] { return receiver.load() != 0; });
        std::thread noise{[&] {
            while (done.load() == 0) ::syscall(SYS_tgkill, ::getpid(), receiver.load(), SIGUSR1);
        }};
        pid_t const sender = start_sender(::getpid(), rt<1>, 0, count);
        ledger book{1, count};
        take_all(signals, book);
        done.store(1);
        noise.join();
        receiving.join();
        reap(sender);
    }, milliseconds{60'000});
}

TEST_CASE("a guard that goes while its signal is masked leaves the mask as it was, and nobody dies", "[wake]") {
    in_child([] {
        {
            guard signals{on<rt<1>>(wake)};
            for (int i = 0; i < 3000; ++i) queue_value(::getpid(), rt<1>, i);
            require_in_child(has_signal(status_mask(::getpid(), "SigBlk:"), rt<1>));
        }
        require_in_child(status_mask(::getpid(), "SigBlk:") == 0);
        require_in_child(status_mask(::getpid(), "ShdPnd:") == 0);
        guard signals{on<rt<1>>(wake)};
        ::raise(rt<1>);
        require_in_child(readable(signals.fd()));
    });
}

TEST_CASE("a thread that another thread's guard made mask a signal has it open after the guard has gone", "[wake]") {
    in_child([] {
        in_signal::atomic<int> done;
        in_signal::atomic<int> receiver;
        std::thread receiving{[&] {
            receiver.store(::gettid());
            while (done.load() == 0) ::sched_yield();
        }};
        until([&] { return receiver.load() != 0; });
        block_signal(rt<1>);
        guard outer{on<rt<1>>(wake)};
        {
            guard signals{on<rt<1>>(wake)};
            for (int i = 0; i < 3000; ++i) queue_value(::getpid(), rt<1>, i);
            until([&] { return status_mask(receiver.load(), "SigBlk:") == in_signal::bit_of(rt<1>); });
        }
        until([&] { return status_mask(receiver.load(), "SigBlk:") == 0; });
        queue_value(::getpid(), rt<1>, 7);
        wait_readable(outer.fd());
        for (delivery const& d : outer.take()) require_in_child(d.value() == 7);
        done.store(1);
        receiving.join();
    });
}

TEST_CASE("several parked threads are all opened", "[wake]") {
    in_child([] {
        constexpr int each = 8'000;
        guard signals{on<rt<1>>(wake)};
        in_signal::atomic<int> done;
        std::vector<std::thread> receivers;
        for (int i = 0; i < 4; ++i)
            receivers.emplace_back([&] {
                while (done.load() == 0) ::sched_yield();
            });
        block_signal(rt<1>);
        pid_t const sender = start_sender(::getpid(), rt<1>, 0, each);
        std::vector<bool> seen(each);
        for (int total = 0; total < each;) {
            wait_readable(signals.fd());
            for (delivery const& d : signals.take()) {
                auto const at = static_cast<std::size_t>(d.value());
                require_in_child(!seen[at]);
                seen[at] = true;
                ++total;
            }
        }
        done.store(1);
        for (std::thread& receiver : receivers) receiver.join();
        reap(sender);
    }, milliseconds{60'000});
}
