// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/chain.hpp>
#include <tocsin/defer.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/simulate.hpp>
#include <tocsin/wake.hpp>
#include <tocsin/wakeup_fd.hpp>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <atomic>
#include <string>
#include <thread>

using namespace tocsin;
using namespace tocsin::test;

namespace {

struct ends {
    int reader = -1;
    int writer = -1;
    ~ends() {
        ::close(reader);
        ::close(writer);
    }
};
struct pipe_ends : ends {
    explicit pipe_ends(int flags = O_NONBLOCK) {
        int both[2];
        require_in_child(::pipe2(both, O_CLOEXEC | flags) == 0);
        reader = both[0];
        writer = both[1];
    }
};
struct socket_ends : ends {
    explicit socket_ends(int flags = SOCK_NONBLOCK) {
        int both[2];
        require_in_child(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0, both) == 0);
        reader = both[0];
        writer = both[1];
    }
};

// What there is to read, without waiting.
std::string drain(int fd) {
    ::fcntl(fd, F_SETFL, O_NONBLOCK);
    std::string all;
    char buffer[4096];
    for (ssize_t got; (got = ::read(fd, buffer, sizeof buffer)) > 0;) all.append(buffer, static_cast<std::size_t>(got));
    return all;
}

std::string bytes_of(std::initializer_list<int> signals) {
    std::string all;
    for (int const signal : signals) all += static_cast<char>(signal);
    return all;
}

// What the constructor says of a descriptor; empty if it takes it.
std::string refusal_of(int fd) {
    try {
        wakeup_fd bytes{fd};
        return {};
    } catch (descriptor_error const& refused) {
        require_in_child(refused.fd() == fd && refused.code() != 0);
        return refused.what();
    }
}

}  // namespace

TEST_CASE("each signal of a row is a byte, its number, in the order of arrival", "[wakeup_fd]") {
    in_child([] {
        pipe_ends both;
        wakeup_fd bytes{both.writer};
        guard signals{on<SIGUSR1, SIGTERM, rt<2>>(wake_byte(bytes))};
        ::raise(SIGUSR1);
        ::raise(SIGTERM);
        for (int i = 0; i < 3; ++i) queue_value(::getpid(), rt<2>, i);
        int const realtime = SIGRTMIN + 2;
        require_in_child(drain(both.reader) == bytes_of({SIGUSR1, SIGTERM, realtime, realtime, realtime}));
        require_in_child(bytes.full() == 0 && bytes.failed() == 0 && bytes.take_refused().empty());
    });
}

TEST_CASE("signals without the word in their row write nothing", "[wakeup_fd]") {
    in_child([] {
        pipe_ends both;
        wakeup_fd bytes{both.writer};
        guard signals{on<SIGUSR1>(wake_byte(bytes)), on<SIGUSR2>(wake)};
        ::raise(SIGUSR2);
        ::raise(SIGWINCH);
        require_in_child(drain(both.reader).empty());
    });
}

TEST_CASE("a descriptor that cannot be written bytes to is refused by its number", "[wakeup_fd]") {
    in_child([] {
        pipe_ends both;
        pipe_ends blocking{0};
        int const counter = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        auto const contains = [](std::string const& said, int fd, char const* reason) {
            return said.find("descriptor " + std::to_string(fd) + " " + reason) != std::string::npos;
        };
        require_in_child(contains(refusal_of(-1), -1, "is not open"));
        require_in_child(contains(refusal_of(900), 900, "is not open"));
        require_in_child(contains(refusal_of(both.reader), both.reader, "is not open for writing"));
        require_in_child(contains(refusal_of(blocking.writer), blocking.writer, "would block"));
        require_in_child(contains(refusal_of(counter), counter, "takes no single bytes"));
        require_in_child(refusal_of(both.writer).empty());
        int code = 0;
        wakeup_fd bytes{code, blocking.writer};
        require_in_child(code == EINVAL);
        guard signals{on<SIGUSR1>(wake_byte(bytes))};
        ::raise(SIGUSR1);
        require_in_child(drain(blocking.reader).empty() && bytes.failed() == 0);
    });
}

TEST_CASE("nothing of it is left when it ends", "[wakeup_fd]") {
    in_child([] {
        pipe_ends both;
        auto const before = descriptors();
        {
            wakeup_fd bytes{both.writer};
            wakeup_fd::instead other{bytes, both.writer};
            guard signals{on<SIGUSR1>(wake_byte(bytes))};
            require_in_child(descriptors() == before + 2);
        }
        require_in_child(descriptors() == before);
        require_in_child(::write(both.writer, "x", 1) == 1 && drain(both.reader) == "x");
    });
}

TEST_CASE("a descriptor that is closed elsewhere, and its number given to a file, gets no byte", "[wakeup_fd]") {
    in_child([] {
        pipe_ends both;
        pipe_ends victim;
        wakeup_fd bytes{both.writer};
        guard signals{on<SIGUSR1>(wake_byte(bytes))};
        require_in_child(::dup2(victim.writer, both.writer) == both.writer);
        ::raise(SIGUSR1);
        require_in_child(drain(victim.reader).empty());
        require_in_child(drain(both.reader) == bytes_of({SIGUSR1}));
    });
}

TEST_CASE("a full buffer is counted, its signals are known, and nobody waits", "[wakeup_fd]") {
    in_child([] {
        pipe_ends a_pipe;
        socket_ends a_socket;
        for (ends* const both : {static_cast<ends*>(&a_pipe), static_cast<ends*>(&a_socket)}) {
            wakeup_fd bytes{both->writer};
            guard signals{on<SIGUSR1, SIGUSR2>(wake_byte(bytes))};
            char const much[4096]{};
            while (::write(both->writer, much, sizeof much) > 0) {
            }
            while (::write(both->writer, much, 1) > 0) {
            }
            ::raise(SIGUSR1);
            ::raise(SIGUSR2);
            ::raise(SIGUSR2);
            require_in_child(bytes.full() == 3 && bytes.failed() == 0);
            require_in_child(bytes.take_refused() == signal_set{SIGUSR1, SIGUSR2});
            require_in_child(bytes.take_refused().empty());
            drain(both->reader);
            ::raise(SIGUSR1);
            require_in_child(drain(both->reader) == bytes_of({SIGUSR1}) && bytes.full() == 3);
        }
    });
}

TEST_CASE("a descriptor that blocks is taken if asked for, and does not block", "[wakeup_fd]") {
    in_child([] {
        pipe_ends a_pipe{0};
        socket_ends a_socket{0};
        for (ends* const both : {static_cast<ends*>(&a_pipe), static_cast<ends*>(&a_socket)}) {
            wakeup_fd bytes{both->writer, even_blocking};
            require_in_child((::fcntl(both->writer, F_GETFL) & O_NONBLOCK) == 0);
            guard signals{on<SIGUSR1>(wake_byte(bytes))};
            while (bytes.full() == 0) ::raise(SIGUSR1);
            require_in_child((::fcntl(both->writer, F_GETFL) & O_NONBLOCK) == 0);
            require_in_child(!drain(both->reader).empty());
        }
    });
}

TEST_CASE("O_NONBLOCK that others take away later makes no handler wait", "[wakeup_fd]") {
    in_child([] {
        pipe_ends a_pipe;
        socket_ends a_socket;
        for (ends* const both : {static_cast<ends*>(&a_pipe), static_cast<ends*>(&a_socket)}) {
            wakeup_fd bytes{both->writer};
            guard signals{on<SIGUSR1>(wake_byte(bytes))};
            ::fcntl(both->writer, F_SETFL, 0);
            while (bytes.full() == 0) ::raise(SIGUSR1);
        }
    });
}

TEST_CASE("a reader who is gone raises no SIGPIPE", "[wakeup_fd]") {
    in_child([] {
        pipe_ends a_pipe;
        socket_ends a_socket;
        for (ends* const both : {static_cast<ends*>(&a_pipe), static_cast<ends*>(&a_socket)}) {
            wakeup_fd bytes{both->writer};
            guard signals{on<SIGUSR1>(wake_byte(bytes))};
            ::close(both->reader);
            ::raise(SIGUSR1);
            simulate(SIGUSR1);
            require_in_child(bytes.failed() == 2 && bytes.reason() == EPIPE && bytes.full() == 0);
            require_in_child(bytes.take_refused() == signal_set{SIGUSR1});
        }
    });
}

TEST_CASE("a SIGPIPE that was pending before a byte was refused stays pending", "[wakeup_fd]") {
    in_child([] {
        pipe_ends both;
        wakeup_fd bytes{both.writer};
        guard signals{on<SIGUSR1>(wake_byte(bytes))};
        ::close(both.reader);
        block_signal(SIGPIPE);
        ::raise(SIGPIPE);
        ::raise(SIGUSR1);
        sigset_t pending;
        ::sigpending(&pending);
        require_in_child(bytes.failed() == 1 && ::sigismember(&pending, SIGPIPE) == 1);
        require_in_child(has_signal(status_mask(::getpid(), "SigBlk:"), SIGPIPE));
    });
}

TEST_CASE("another descriptor stands in for a scope, and the one before is back", "[wakeup_fd]") {
    in_child([] {
        pipe_ends first;
        pipe_ends second;
        wakeup_fd bytes{first.writer};
        guard signals{on<SIGUSR1>(wake_byte(bytes))};
        {
            wakeup_fd::instead other{bytes, second.writer};
            ::raise(SIGUSR1);
            {
                wakeup_fd::instead nowhere{bytes};
                ::raise(SIGUSR1);
            }
            ::raise(SIGUSR1);
        }
        require_in_child(drain(first.reader).empty());
        require_in_child(drain(second.reader) == bytes_of({SIGUSR1, SIGUSR1}));
        ::raise(SIGUSR1);
        require_in_child(drain(first.reader) == bytes_of({SIGUSR1}) && drain(second.reader).empty());
        try {
            wakeup_fd::instead bad{bytes, 900};
            require_in_child(false);
        } catch (error const& refused) {
            require_in_child(refused.code() == EBADF);
        }
        ::raise(SIGUSR1);
        require_in_child(drain(first.reader) == bytes_of({SIGUSR1}));
    });
}

TEST_CASE("stand-ins may end in any order", "[wakeup_fd]") {
    in_child([] {
        pipe_ends first;
        pipe_ends second;
        pipe_ends third;
        wakeup_fd bytes{first.writer};
        guard signals{on<SIGUSR1>(wake_byte(bytes))};
        auto* const older = new wakeup_fd::instead{bytes, second.writer};
        auto* const newer = new wakeup_fd::instead{bytes, third.writer};
        delete older;
        ::raise(SIGUSR1);
        require_in_child(drain(third.reader) == bytes_of({SIGUSR1}));
        delete newer;
        ::raise(SIGUSR1);
        require_in_child(drain(first.reader) == bytes_of({SIGUSR1}) && drain(second.reader).empty());
    });
}

TEST_CASE("there may be any number at once: in one row, and in nested guards", "[wakeup_fd]") {
    in_child([] {
        pipe_ends first;
        socket_ends second;
        wakeup_fd one{first.writer};
        wakeup_fd two{second.writer};
        guard outer{on<SIGUSR1>(wake_byte(one))};
        {
            guard inner{on<SIGUSR1>(wake_byte(one), wake_byte(two), chain)};
            ::raise(SIGUSR1);
            require_in_child(drain(first.reader) == bytes_of({SIGUSR1, SIGUSR1}));
            require_in_child(drain(second.reader) == bytes_of({SIGUSR1}));
        }
        ::raise(SIGUSR1);
        require_in_child(drain(first.reader) == bytes_of({SIGUSR1}) && drain(second.reader).empty());
    });
}

TEST_CASE("a forked child writes nothing to the parent until it has a descriptor of its own", "[wakeup_fd]") {
    in_child([] {
        pipe_ends of_parent;
        wakeup_fd bytes{of_parent.writer};
        guard signals{on<SIGUSR1>(wake_byte(bytes))};
        require_fork([&] {
            ::raise(SIGUSR1);
            pipe_ends own;
            bytes.rearm(own.writer);
            ::raise(SIGUSR1);
            require_in_child(drain(own.reader) == bytes_of({SIGUSR1}));
        });
        require_in_child(drain(of_parent.reader).empty());
        ::raise(SIGUSR1);
        require_in_child(drain(of_parent.reader) == bytes_of({SIGUSR1}));
    });
}

TEST_CASE("a descriptor that is exchanged while signals come gets no byte afterwards", "[wakeup_fd]") {
    in_child([] {
        pipe_ends first;
        wakeup_fd bytes{first.writer};
        guard signals{on<SIGUSR1>(wake_byte(bytes))};
        std::atomic<bool> ended{false};
        std::thread sender{[&] {
            while (!ended.load()) ::raise(SIGUSR1);
        }};
        for (int round = 0; round < 300; ++round) {
            pipe_ends second;
            { wakeup_fd::instead other{bytes, second.writer}; }
            drain(second.reader);
            ::sched_yield();
            require_in_child(drain(second.reader).empty());
            drain(first.reader);
        }
        ended.store(true);
        sender.join();
        require_in_child(bytes.failed() == 0);
    });
}

TEST_CASE("whoever reads a byte finds what the row has recorded", "[wakeup_fd]") {
    in_child([] {
        socket_ends both;
        wakeup_fd bytes{both.writer};
        unsigned long run = 0;
        guard signals{on<SIGUSR1>(wake_byte(bytes), defer([&](delivery const& d) { run += d.merged(); }))};
        constexpr unsigned long rounds = 20'000;
        std::atomic<unsigned long> answered{0};
        std::thread sender{[&] {
            for (unsigned long i = 0; i < rounds; ++i) {
                ::raise(SIGUSR1);  // on this thread: only the byte tells the other one
                until([&] { return answered.load() == i + 1; });
            }
        }};
        for (unsigned long i = 0; i < rounds; ++i) {
            wait_readable(both.reader);
            drain(both.reader);
            signals.check();
            require_in_child(run == i + 1);
            answered.store(run);
        }
        sender.join();
    });
}
