// SPDX-License-Identifier: MIT
#include <tocsin/in_signal/write.hpp>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <thread>

#include "support/catch.hpp"

using tocsin::in_signal::fixed_line;
using tocsin::in_signal::monotonic;
using tocsin::in_signal::output;

namespace {

constexpr std::uint64_t millisecond = 1'000'000;

struct two_ends {
    int read_end = -1;
    int write_end = -1;

    static two_ends of_pipe() {
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        return {ends[0], ends[1]};
    }
    static two_ends of_socket(int type) {
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) == 0);
        return {ends[0], ends[1]};
    }
    static two_ends of_terminal() {
        int const master = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        REQUIRE(master >= 0);
        REQUIRE(::grantpt(master) == 0);
        REQUIRE(::unlockpt(master) == 0);
        int const terminal = ::open(::ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
        REQUIRE(terminal >= 0);
        return {master, terminal};
    }
    void close_reader() {
        ::close(read_end);
        read_end = -1;
    }
    ~two_ends() {
        if (read_end >= 0) ::close(read_end);
        ::close(write_end);
    }
};

// Fills what is behind a descriptor without blocking, and leaves its flags as they were.
void fill(int fd) {
    int const flags = ::fcntl(fd, F_GETFL);
    ::fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    std::string const much(4096, 'f');
    while (::write(fd, much.data(), much.size()) > 0) {
    }
    while (::write(fd, "f", 1) > 0) {
    }
    ::fcntl(fd, F_SETFL, flags);
}

std::string read_all(int fd, std::size_t size) {
    std::string all;
    char some[4096];
    while (all.size() < size) {
        ssize_t const got = ::read(fd, some, sizeof some);
        if (got <= 0) break;
        all.append(some, static_cast<std::size_t>(got));
    }
    return all;
}

bool pending(int signal) {
    sigset_t set;
    ::sigpending(&set);
    return ::sigismember(&set, signal) == 1;
}

bool blocked(int signal) {
    sigset_t set;
    ::pthread_sigmask(SIG_BLOCK, nullptr, &set);
    return ::sigismember(&set, signal) == 1;
}

// Runs f in a child that may be killed by signals; its exit status.
template <class F>
int in_child(F f) {
    pid_t const child = ::fork();
    if (child == 0) {
        for (int const one : {SIGPIPE, SIGXFSZ, SIGALRM}) ::signal(one, SIG_DFL);
        ::alarm(20);
        ::_exit(f());
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return status;
}

}  // namespace

TEST_CASE("whole lines arrive at a pipe, a socket and a terminal", "[write]") {
    auto const kind = GENERATE(0, 1, 2, 3);
    CAPTURE(kind);
    two_ends const ends = kind == 0   ? two_ends::of_pipe()
                          : kind == 1 ? two_ends::of_socket(SOCK_STREAM)
                          : kind == 2 ? two_ends::of_socket(SOCK_DGRAM)
                                      : two_ends::of_terminal();
    int const flags = ::fcntl(ends.write_end, F_GETFL);
    {
        output out{ends.write_end, 1000 * millisecond};
        fixed_line<64> one;
        CHECK(out.put(one.text("answer ").decimal(42)));
        CHECK(one.empty());
        CHECK(::fcntl(ends.write_end, F_GETFL) == flags);
        CHECK_FALSE(out.failed());
    }
    std::string const expected = kind == 3 ? "answer 42\r\n" : "answer 42\n";
    CHECK(read_all(ends.read_end, expected.size()) == expected);
}

TEST_CASE("gathered lines go out in one write when the memory is full and at the end", "[write]") {
    two_ends const ends = two_ends::of_socket(SOCK_DGRAM);
    char memory[32];
    {
        output out{ends.write_end, 1000 * millisecond, memory, sizeof memory};
        CHECK(out.write("first line\n"));
        CHECK(out.write("second line\n"));
        CHECK(out.bytes() == 0);
        CHECK(out.write("third line\n"));
        CHECK(out.bytes() == 23);
    }
    CHECK(read_all(ends.read_end, 1) == "first line\nsecond line\n");
    CHECK(read_all(ends.read_end, 1) == "third line\n");
}

TEST_CASE("a full pipe, socket or terminal holds the caller no longer than the budget", "[write]") {
    auto const kind = GENERATE(0, 1, 2);
    CAPTURE(kind);
    two_ends const ends = kind == 0   ? two_ends::of_pipe()
                          : kind == 1 ? two_ends::of_socket(SOCK_STREAM)
                                      : two_ends::of_terminal();
    // A worker of the kernel carries what was written to a terminal on towards its reader, whenever it gets to run,
    // and so makes room again after the terminal was full: filled until it is refused.
    std::uint64_t const limit = monotonic() + 10'000 * millisecond;
    std::uint64_t begin = 0;
    std::optional<output> out;
    bool written = true;
    while (written && monotonic() < limit) {
        fill(ends.write_end);
        begin = monotonic();
        out.emplace(ends.write_end, 30 * millisecond);
        written = out->write("x\n");
    }
    std::uint64_t const took = monotonic() - begin;
    REQUIRE_FALSE(written);
    CHECK(out->error() == ETIMEDOUT);
    CHECK(took >= 29 * millisecond);
    CHECK(took < 2000 * millisecond);
    CHECK_FALSE(out->write("not tried again\n"));
    CHECK(monotonic() - begin < 2000 * millisecond);
}

TEST_CASE("without a budget a full pipe is tried once", "[write]") {
    two_ends const ends = two_ends::of_pipe();
    fill(ends.write_end);
    output out{ends.write_end, 0};
    CHECK_FALSE(out.write("x\n"));
    CHECK(out.error() == ETIMEDOUT);
}

TEST_CASE("a slow reader gets everything, more than a pipe holds", "[write]") {
    auto const kind = GENERATE(0, 1, 2);
    CAPTURE(kind);
    two_ends const ends = kind == 0   ? two_ends::of_pipe()
                          : kind == 1 ? two_ends::of_socket(SOCK_STREAM)
                                      : two_ends::of_terminal();
    std::string const text = std::string(99, 'x') + "\n";
    constexpr int lines = 5000;
    std::size_t const expected = (text.size() + (kind == 2 ? 1 : 0)) * lines;
    std::string got;
    std::thread reader{[&] { got = read_all(ends.read_end, expected); }};
    {
        output out{ends.write_end, 20'000 * millisecond};
        for (int i = 0; i < lines; ++i) out.write(text.data(), text.size());
        CHECK(out.error() == 0);
        CHECK(out.bytes() == text.size() * lines);
    }
    reader.join();
    CHECK(got.size() == expected);
}

TEST_CASE("a broken pipe is an error and raises no signal, now or later", "[write]") {
    auto const socket = GENERATE(false, true);
    int const status = in_child([&] {
        two_ends ends = socket ? two_ends::of_socket(SOCK_STREAM) : two_ends::of_pipe();
        ends.close_reader();
        {
            output out{ends.write_end, 100 * millisecond};
            if (out.write("x\n") || out.error() != EPIPE) return 1;
        }
        return pending(SIGPIPE) || blocked(SIGPIPE) ? 2 : 0;
    });
    CHECK(status == 0);
}

TEST_CASE("a SIGPIPE that was pending before stays pending", "[write]") {
    int const status = in_child([] {
        sigset_t set;
        ::sigemptyset(&set);
        ::sigaddset(&set, SIGPIPE);
        ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
        ::raise(SIGPIPE);
        two_ends ends = two_ends::of_pipe();
        ends.close_reader();
        {
            output out{ends.write_end, 100 * millisecond};
            if (out.write("x\n")) return 1;
        }
        return pending(SIGPIPE) && blocked(SIGPIPE) ? 0 : 2;
    });
    CHECK(status == 0);
}

TEST_CASE("a file at its size limit is an error and raises no signal", "[write]") {
    char path[] = "/tmp/tocsin-write-XXXXXX";
    int const fd = ::mkstemp(path);
    REQUIRE(fd >= 0);
    ::unlink(path);
    int const status = in_child([&] {
        rlimit const limit{8, 8};
        ::setrlimit(RLIMIT_FSIZE, &limit);
        {
            output out{fd, 100 * millisecond};
            if (out.write("more than eight\n") || out.error() != EFBIG || out.bytes() != 8) return 1;
        }
        return pending(SIGXFSZ) || blocked(SIGXFSZ) ? 2 : 0;
    });
    CHECK(status == 0);
    ::close(fd);
}

TEST_CASE("a file is continued where its descriptor stands", "[write]") {
    char path[] = "/tmp/tocsin-write-XXXXXX";
    int const fd = ::mkstemp(path);
    REQUIRE(fd >= 0);
    ::unlink(path);
    REQUIRE(::write(fd, "head\n", 5) == 5);
    {
        output out{fd, 100 * millisecond};
        CHECK(out.write("tail\n"));
    }
    char text[16]{};
    CHECK(::pread(fd, text, sizeof text, 0) == 10);
    CHECK(std::string{text} == "head\ntail\n");
    ::close(fd);
}

TEST_CASE("descriptors that are closed, or open only for reading, are errors", "[write]") {
    two_ends const ends = two_ends::of_pipe();
    output reading{ends.read_end, 100 * millisecond};
    CHECK_FALSE(reading.write("x\n"));
    CHECK(reading.error() == EBADF);
    output none{-1, 100 * millisecond};
    CHECK_FALSE(none.write("x\n"));
    CHECK(none.error() == EBADF);
}

TEST_CASE("an output leaves no descriptor behind and keeps the mask", "[write]") {
    two_ends const ends = two_ends::of_pipe();
    int const before = ::dup(0);
    ::close(before);
    {
        output out{ends.write_end, 100 * millisecond};
        out.write("x\n");
        CHECK(blocked(SIGPIPE));
    }
    int const after = ::dup(0);
    ::close(after);
    CHECK(before == after);
    CHECK_FALSE(blocked(SIGPIPE));
}
