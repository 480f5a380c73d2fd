// SPDX-License-Identifier: MIT
// Blocking calls under a stream of signals: each is interrupted many times, and does its work all the same.
//
// The calls are those that CPython's EINTR suite goes through, and some more; the signals come from the process's
// interval timer, every 2 ms. What ends a wait happens only once the wait has been interrupted five times.
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <tocsin/block.hpp>
#include <tocsin/children.hpp>
#include <tocsin/defer.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/interval_timer.hpp>
#include <tocsin/retry.hpp>
#include <tocsin/sleep.hpp>
#include <tocsin/throw_as.hpp>
#include <tocsin/wait.hpp>

#include "support/report_text.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using namespace tocsin::test;
using namespace std::chrono_literals;

namespace {

using steady = std::chrono::steady_clock;

constexpr int enough = 5;
std::atomic<int> ticks{0};
std::atomic<int> interruptions{0};

constexpr auto count_tick = in_handler([](delivery const&) noexcept { ticks.fetch_add(1); });

// Counts the tries that failed with EINTR.
template <class Call>
auto counted(Call call) {
    return [call]() mutable {
        auto const result = call();
        if (result == -1 && errno == EINTR) interruptions.fetch_add(1);
        return result;
    };
}

// Does it once the main thread's call has been interrupted often enough; with ticks blocked, so that it is the main
// thread that gets them.
class helper {
  public:
    template <class Act>
    helper(std::atomic<int>& counted, Act act) : thread_{start(counted, act)} {}
    ~helper() { thread_.join(); }
    helper(helper const&) = delete;
    helper& operator=(helper const&) = delete;

  private:
    template <class Act>
    static std::thread start(std::atomic<int>& counted, Act act) {
        block<SIGALRM> const here;
        return std::thread{[&counted, act]() mutable {
            int const from = counted;
            until([&] { return counted - from >= enough; });
            act();
        }};
    }

    std::thread thread_;
};

// The call with a row that interrupts: EINTR each time, and in the end what it is to answer.
template <class Act, class Call>
void require_done(Act act, Call call, long answer = 1, int line = __builtin_LINE()) {
    guard signals{on<SIGALRM>(count_tick).interrupting()};
    interval_timer<ITIMER_REAL> const storm{2ms, 2ms};
    interruptions = 0;
    long const got = [&] {
        helper const other{interruptions, act};
        return static_cast<long>(retry(counted(call)));
    }();
    if (got != answer) ::dprintf(2, "line %d: %ld, errno %d\n", line, got, errno);
    require_in_child(got == answer);
    require_in_child(interruptions >= enough);
}

// The same with a row that restarts: the call is not to notice.
template <class Act, class Call>
void require_unnoticed(Act act, Call call, long answer = 1, int line = __builtin_LINE()) {
    guard signals{on<SIGALRM>(count_tick)};
    interval_timer<ITIMER_REAL> const storm{2ms, 2ms};
    interruptions = 0;
    long const got = [&] {
        helper const other{ticks, act};
        return static_cast<long>(counted(call)());
    }();
    if (got != answer) ::dprintf(2, "line %d: %ld, errno %d\n", line, got, errno);
    require_in_child(got == answer);
    require_in_child(interruptions == 0);
}

// Both ways.
template <class Act, class Call>
void require_both(Act act, Call call, long answer = 1, int line = __builtin_LINE()) {
    require_done(act, call, answer, line);
    require_unnoticed(act, call, answer, line);
}

struct pair_of {
    int first;
    int second;
};
pair_of make_pipe() {
    int made[2];
    require_in_child(::pipe2(made, O_CLOEXEC) == 0);
    return {made[0], made[1]};
}
pair_of make_sockets() {
    int made[2];
    require_in_child(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, made) == 0);
    return {made[0], made[1]};
}
void put(int fd) { require_in_child(::write(fd, "x", 1) == 1); }
void fill(int fd) {
    int const flags = ::fcntl(fd, F_GETFL);
    ::fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    char const block[4096] = {};
    while (::write(fd, block, sizeof block) > 0) {
    }
    while (::write(fd, block, 1) > 0) {
    }
    ::fcntl(fd, F_SETFL, flags);
}
void empty(int fd) {
    int const flags = ::fcntl(fd, F_GETFL);
    ::fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    char block[4096];
    while (::read(fd, block, sizeof block) > 0) {
    }
    ::fcntl(fd, F_SETFL, flags);
}

}  // namespace

TEST_CASE("read and readv come back with the data", "[eintr]") {
    in_prompt_child([] {
        pair_of const ends = make_pipe();
        int const reader = ends.first;
        int const writer = ends.second;
        char byte;
        require_both([&] { put(writer); }, [&] { return ::read(reader, &byte, 1); });
        iovec part{&byte, 1};
        require_both([&] { put(writer); }, [&] { return ::readv(reader, &part, 1); });
    });
}

TEST_CASE("write into a full pipe comes back with what it wrote", "[eintr]") {
    in_prompt_child([] {
        pair_of const ends = make_pipe();
        int const reader = ends.first;
        int const writer = ends.second;
        for (int round = 0; round < 2; ++round) {
            fill(writer);
            auto const act = [&] { empty(reader); };
            auto const call = [&] { return ::write(writer, "x", 1); };
            if (round == 0)
                require_done(act, call);
            else
                require_unnoticed(act, call);
        }
    });
}

TEST_CASE("a large write that is interrupted in its middle loses nothing and doubles nothing", "[eintr]") {
    in_prompt_child([] {
        pair_of const ends = make_pipe();
        int const reader = ends.first;
        int const writer = ends.second;
        constexpr std::size_t size = 3'000'000;
        std::string sent(size, '\0');
        for (std::size_t i = 0; i < size; ++i) sent[i] = static_cast<char>(i * 7 + i / 251);
        std::string received;
        guard signals{on<SIGALRM>(count_tick).interrupting()};
        interval_timer<ITIMER_REAL> const storm{500us, 500us};
        std::thread other{[&] {
            block<SIGALRM> const here;
            char buffer[5000];
            for (ssize_t got; (got = retry([&] { return ::read(reader, buffer, sizeof buffer); })) > 0;) {
                received.append(buffer, static_cast<std::size_t>(got));
                if (received.size() % 20'000 < 5000) ::sched_yield();
            }
        }};
        for (std::size_t done = 0; done < size;) {
            ssize_t const got = retry([&] { return ::write(writer, sent.data() + done, size - done); });
            require_in_child(got > 0);
            done += static_cast<std::size_t>(got);
        }
        ::close(writer);
        other.join();
        require_in_child(received == sent);
    });
}

TEST_CASE("recv, recvmsg, send and sendmsg come back with the data", "[eintr]") {
    in_prompt_child([] {
        pair_of const ends = make_sockets();
        int const here = ends.first;
        int const there = ends.second;
        char byte = 'x';
        iovec part{&byte, 1};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        require_both([&] { put(there); }, [&] { return ::recv(here, &byte, 1, 0); });
        require_both([&] { put(there); }, [&] { return ::recvmsg(here, &message, 0); });
        for (int round = 0; round < 2; ++round) {
            fill(here);
            require_done([&] { empty(there); }, [&] { return ::send(here, &byte, 1, 0); });
            fill(here);
            require_unnoticed([&] { empty(there); }, [&] { return ::sendmsg(here, &message, 0); });
        }
    });
}

TEST_CASE("accept comes back with the connection", "[eintr]") {
    in_prompt_child([] {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::string const name = "tocsin-eintr-" + std::to_string(::getpid());
        std::memcpy(address.sun_path + 1, name.c_str(), name.size());
        auto const size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
        void const* const generic = &address;
        auto const* const at = static_cast<sockaddr const*>(generic);
        int const listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        require_in_child(::bind(listener, at, size) == 0 && ::listen(listener, 5) == 0);
        auto const connect = [&] {
            int const made = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
            require_in_child(::connect(made, at, size) == 0);
        };
        require_both(connect, [&] { return ::accept(listener, nullptr, nullptr) > 0 ? 1 : -1; });
    });
}

TEST_CASE("open of a fifo waits for the other side", "[eintr]") {
    scratch_directory place;
    in_prompt_child([&] {
        std::string const fifo = place.file("fifo");
        require_in_child(::mkfifo(fifo.c_str(), 0600) == 0);
        auto const open_writer = [&] { require_in_child(::open(fifo.c_str(), O_WRONLY | O_CLOEXEC) >= 0); };
        require_done(open_writer, [&] { return ::open(fifo.c_str(), O_RDONLY | O_CLOEXEC) >= 0 ? 1 : -1; });
        std::string const second = place.file("second");
        require_in_child(::mkfifo(second.c_str(), 0600) == 0);
        auto const open_reader = [&] { require_in_child(::open(second.c_str(), O_RDONLY | O_CLOEXEC) >= 0); };
        require_unnoticed(open_reader, [&] { return ::open(second.c_str(), O_WRONLY | O_CLOEXEC) >= 0 ? 1 : -1; });
    });
}

TEST_CASE("waitpid, waitid and child_watch come back with the child", "[eintr]") {
    in_prompt_child([] {
        auto const start = [](pair_of const& pipe) {
            pid_t const made = ::fork();
            if (made != 0) return made;
            ::close(pipe.second);
            char byte;
            ::_exit(::read(pipe.first, &byte, 1) == 0 ? 7 : 8);
        };
        for (int way = 0; way < 3; ++way) {
            pair_of const pipe = make_pipe();
            pid_t const child = start(pipe);
            int status = -1;
            siginfo_t info{};
            auto const act = [&] { ::close(pipe.second); };
            if (way == 0) {
                require_done(act, [&] { return ::waitpid(child, &status, 0); }, child);
                require_in_child(WEXITSTATUS(status) == 7);
            } else if (way == 1) {
                require_unnoticed(act, [&] { return ::waitid(P_ALL, 0, &info, WEXITED); }, 0);
                require_in_child(info.si_pid == child && info.si_status == 7);
            } else {
                guard signals{on<SIGALRM>(count_tick).interrupting()};
                interval_timer<ITIMER_REAL> const storm{2ms, 2ms};
                child_watch one{child};
                helper const other{ticks, act};
                require_in_child(one.wait().code() == 7);
            }
            ::close(pipe.first);
        }
    });
}

TEST_CASE("poll, select and epoll are interrupted by every row, and come back with the event", "[eintr]") {
    in_prompt_child([] {
        pair_of const ends = make_pipe();
        int const reader = ends.first;
        int const writer = ends.second;
        int const several = ::epoll_create1(EPOLL_CLOEXEC);
        epoll_event wanted{};
        wanted.events = EPOLLIN;
        require_in_child(::epoll_ctl(several, EPOLL_CTL_ADD, reader, &wanted) == 0);
        auto const act = [&] { put(writer); };
        auto const by_poll = [&] {
            pollfd one{reader, POLLIN, 0};
            return ::poll(&one, 1, -1);
        };
        auto const by_select = [&] {
            fd_set set;
            FD_ZERO(&set);
            FD_SET(reader, &set);
            return ::select(reader + 1, &set, nullptr, nullptr, nullptr);
        };
        auto const by_epoll = [&] {
            epoll_event found{};
            return ::epoll_wait(several, &found, 1, -1);
        };
        require_done(act, by_poll);
        empty(reader);
        require_done(act, by_select);
        empty(reader);
        require_done(act, by_epoll);
        empty(reader);
        guard signals{on<SIGALRM>(count_tick)};  // restarts what can be restarted
        interval_timer<ITIMER_REAL> const storm{2ms, 2ms};
        interruptions = 0;
        helper const other{interruptions, act};
        require_in_child(retry(counted(by_poll)) == 1);
        require_in_child(interruptions >= enough);
    });
}

TEST_CASE("flock and fcntl come back with the lock", "[eintr]") {
    scratch_directory place;
    in_prompt_child([&] {
        for (bool const whole : {true, false}) {
            std::string const file = place.file(whole ? "whole" : "part");
            auto const lock = [&](int fd) {
                struct flock range {};
                range.l_type = F_WRLCK;
                return whole ? ::flock(fd, LOCK_EX) : ::fcntl(fd, F_SETLKW, &range);
            };
            pair_of const ready = make_pipe();
            pair_of const go = make_pipe();
            pid_t const holder = ::fork();  // another process: fcntl's locks are between processes
            if (holder == 0) {
                ::close(go.second);
                int const fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
                require_in_child(lock(fd) == 0);
                put(ready.second);
                char byte;
                ::_exit(::read(go.first, &byte, 1) == 0 ? 0 : 1);
            }
            char byte;
            require_in_child(::read(ready.first, &byte, 1) == 1);
            int const fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
            require_done([&] { ::close(go.second); }, [&] { return lock(fd); }, 0);
            ::waitpid(holder, nullptr, 0);
        }
    });
}

TEST_CASE("a wait for a signal takes it, whatever other signals come", "[eintr]") {
    in_prompt_child([] {
        block<SIGUSR1> const here;
        guard signals{on<SIGALRM>(count_tick).interrupting()};
        interval_timer<ITIMER_REAL> const storm{2ms, 2ms};
        auto const send = [] { ::kill(::getpid(), SIGUSR1); };
        {
            helper const other{ticks, send};
            waited_signal const got = wait(signal_set{SIGUSR1});
            require_in_child(got.signal() == SIGUSR1 && got.pid() == ::getpid());
        }
        {
            helper const other{ticks, send};
            auto const got = wait_for(signal_set{SIGUSR1}, 20s);
            require_in_child(got && got->signal() == SIGUSR1);
        }
    });
}

TEST_CASE("a sleep, a wait and a poll with a deadline last as long as they were told", "[eintr]") {
    in_prompt_child([] {
        guard signals{on<SIGALRM>(count_tick).interrupting()};
        interval_timer<ITIMER_REAL> const storm{2ms, 2ms};
        pair_of const ends = make_pipe();
        int const reader = ends.first;
        auto const lasts = [](auto body) {
            int const before = ticks;
            auto const start = steady::now();
            body();
            auto const took = steady::now() - start;
            require_in_child(took >= 60ms && took < 5s);
            require_in_child(ticks - before >= enough);
        };
        lasts([] { sleep_for(60ms); });
        lasts([] { sleep_until(steady::now() + 60ms); });
        lasts([] {
            block<SIGUSR1> const here;
            require_in_child(!wait_for(signal_set{SIGUSR1}, 60ms));
        });
        lasts([&] {
            pollfd one{reader, POLLIN, 0};
            require_in_child(retry(60ms, [&](time_left left) { return ::poll(&one, 1, poll_timeout(left)); }) == 0);
        });
        lasts([&] {
            require_in_child(retry(60ms, [&](time_left left) {
                                 fd_set set;
                                 FD_ZERO(&set);
                                 FD_SET(reader, &set);
                                 timespec limit{left.count() / 1'000'000'000, left.count() % 1'000'000'000};
                                 return ::pselect(reader + 1, &set, nullptr, nullptr, &limit, nullptr);
                             }) == 0);
        });
        lasts([&] {  // read(2) knows no time: the signal after the deadline ends it
            char byte;
            require_in_child(retry(60ms, [&] { return ::read(reader, &byte, 1); }) == -1 && errno == ETIMEDOUT);
        });
    });
}

TEST_CASE("a semaphore is taken in spite of signals, and given up for an exception", "[eintr]") {
    in_prompt_child([] {
        sem_t free;
        require_in_child(::sem_init(&free, 0, 0) == 0);
        require_done([&] { ::sem_post(&free); }, [&] { return ::sem_wait(&free); }, 0);
        guard signals{on<SIGALRM>(throw_as<>).interrupting()};
        auto const owner = signals.own();
        interval_timer<ITIMER_REAL> const soon{5ms, 5ms};
        bool thrown = false;
        try {
            retry(signals, [&] { return ::sem_wait(&free); });
        } catch (interrupted const& e) {
            thrown = e.by().signal() == SIGALRM;
        }
        require_in_child(thrown);
        int value = -1;
        require_in_child(::sem_getvalue(&free, &value) == 0 && value == 0);
    });
}

TEST_CASE("locks and condition variables of C++ do not notice", "[eintr]") {
    in_prompt_child([] {
        guard signals{on<SIGALRM>(count_tick).interrupting()};
        interval_timer<ITIMER_REAL> const storm{2ms, 2ms};
        std::timed_mutex held;
        held.lock();
        {
            block<SIGALRM> const here;
            std::thread{[&] {
                auto const start = steady::now();
                unblock<SIGALRM> const open;
                require_in_child(!held.try_lock_for(60ms));
                require_in_child(steady::now() - start >= 60ms);
            }}.join();
        }
        std::mutex of_it;
        std::condition_variable changed;
        bool set = false;
        helper const other{ticks, [&] {
            std::lock_guard const lock{of_it};
            set = true;
            changed.notify_one();
        }};
        std::unique_lock lock{of_it};
        require_in_child(changed.wait_for(lock, 20s, [&] { return set; }));
    });
}

TEST_CASE("a deferred reaction runs at each interruption, and the call goes on", "[eintr]") {
    in_prompt_child([] {
        static std::atomic<int> ran{0};
        guard signals{on<SIGALRM>(defer([] { ++ran; })).interrupting()};
        auto const owner = signals.own();
        interval_timer<ITIMER_REAL> const storm{2ms, 2ms};
        pair_of const ends = make_pipe();
        int const reader = ends.first;
        int const writer = ends.second;
        helper const other{ran, [&] { put(writer); }};
        char byte;
        require_in_child(retry(signals, [&] { return ::read(reader, &byte, 1); }) == 1);
        require_in_child(ran >= enough);
    });
}

TEST_CASE("what interrupts is a property of the row, and may be another inside", "[eintr]") {
    in_prompt_child([] {
        pair_of const ends = make_pipe();
        int const reader = ends.first;
        int const writer = ends.second;
        char byte;
        guard outer{on<SIGALRM>(count_tick)};
        {
            guard inner{on<SIGALRM>(count_tick, in_handler([](delivery const&) noexcept {})).interrupting()};
            interval_timer<ITIMER_REAL> const one{5ms};
            require_in_child(::read(reader, &byte, 1) == -1 && errno == EINTR);
        }
        interval_timer<ITIMER_REAL> const storm{2ms, 2ms};
        helper const other{ticks, [&] { put(writer); }};
        require_in_child(::read(reader, &byte, 1) == 1);
    });
}
