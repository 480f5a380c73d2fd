// SPDX-License-Identifier: MIT
// A program that uses all five jobs at once, to be built in every way that is promised.
//
// Exits with 0 if everything was as it should be; says which line was not. With UNDER_SANITIZER the death by a fault
// is left out: the sanitizer's own runtime takes part in it.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <tocsin/tocsin.hpp>

#include "check.hpp"

using namespace tocsin;
using consumers::eventually;

namespace {

int handled = 0;
int called = 0;
int deferred = 0;
int hung = 0;

// The thread sanitizer keeps signals back until the program waits, and one of each number.
#if defined(UNDER_SANITIZER)
constexpr int queued = 1;
#else
constexpr int queued = 3;
#endif

void count(int& what) noexcept { __atomic_fetch_add(&what, 1, __ATOMIC_SEQ_CST); }
int number(int const& of) noexcept { return __atomic_load_n(&of, __ATOMIC_SEQ_CST); }

void in_the_handler(delivery const&) noexcept { count(handled); }

// Everything that can be read from the pipe until its writers are gone.
struct text_of_pipe {
    char text[1 << 18];
    std::size_t size = 0;
    explicit text_of_pipe(int fd) {
        while (size < sizeof text - 1) {
            ssize_t const got = ::read(fd, text + size, sizeof text - 1 - size);
            if (got <= 0) break;
            size += static_cast<std::size_t>(got);
        }
        text[size] = '\0';
        ::close(fd);
    }
    bool has(char const* part) const {
        if (std::strstr(text, part) != nullptr) return true;
        std::fprintf(stderr, "the report does not say \"%s\":\n%s\n", part, text);
        return false;
    }
};

// A pipe that a child or a report fills; the report fits, so nobody waits.
struct pipe_pair {
    int ends[2];
    pipe_pair() {
        if (::pipe2(ends, O_CLOEXEC) != 0) std::exit(EXIT_FAILURE);
        ::fcntl(ends[1], F_SETPIPE_SZ, 1 << 18);
    }
};

void check_rows() {
    guard signals{
        on<SIGTERM>(request_stop.every()),
        on<SIGHUP>(call([] { count(called); })),
        on<SIGCHLD>(wake),
        on<rt<3>>(wake),
        on<SIGUSR1>(defer([] { count(deferred); })),
        on<SIGPIPE>(ignore),
        on<SIGUSR2>(in_handler(in_the_handler)),
        watchdog(10ms)(call([] { count(hung); })),
    };
    ::raise(SIGUSR2);
    EXPECT(handled == 1);
    EXPECT(simulate(SIGUSR2) == simulation::handled && handled == 2);
    ::raise(SIGHUP);
    EXPECT(eventually([] { return number(called) == 1; }));
    ::raise(SIGUSR1);
    EXPECT(signals.pending() && deferred == 0);
    EXPECT(signals.check() == 1 && deferred == 1 && !signals.pending());
    ::raise(SIGPIPE);
    ::raise(SIGCHLD);
    for (int i = 0; i < queued; ++i) ::sigqueue(::getpid(), rt<3>, sigval{.sival_int = i});
    int taken = 0;
    auto const take = [&] {
        for (delivery const& each : signals.take()) {
            EXPECT(taken == 0 ? each.signal() == SIGCHLD
                              : each.signal() == rt<3> && each.value() == taken - 1);
            ++taken;
        }
        return taken == queued + 1;
    };
    EXPECT(eventually(take) && signals.fd() >= 0);
    EXPECT(!signals.stop_requested());
    ::raise(SIGTERM);
    EXPECT(signals.stop_requested());
#if defined(__cpp_lib_jthread)
    EXPECT(eventually([&] { return signals.stop_token().stop_requested(); }));
#endif
    EXPECT(eventually([] { return number(hung) >= 1; }));
    signals.feed();
}

void check_refusal() {
    int refused = 0;
    guard empty{refused, on<SIGUSR1>(dump_threads.to(-1))};
    EXPECT(!empty && refused == EBADF);
#if defined(__cpp_exceptions)
    bool thrown = false;
    try {
        guard never{on<SIGUSR1>(dump_threads.to(-1))};
    } catch (error const& why) {
        thrown = std::strlen(why.what()) != 0;
    }
    EXPECT(thrown);
#endif
}

struct waiting_thread {
    int started = 0;
    int over = 0;
    static void* run(void* argument) {
        auto& self = *static_cast<waiting_thread*>(argument);
        thread_guard here{"worker"};
        count(self.started);
        while (number(self.over) == 0) ::usleep(100);
        return nullptr;
    }
};

[[gnu::noinline]] int report_from_here(int fd) {
    int const refused = dump(fd);
    asm volatile("" : : : "memory");  // or the call is the last thing here, and a jump
    return refused;
}

void check_dump() {
    waiting_thread other;
    pthread_t thread;
    ::pthread_create(&thread, nullptr, waiting_thread::run, &other);
    EXPECT(eventually([&] { return number(other.started) == 1; }));
    pipe_pair report;
    EXPECT(report_from_here(report.ends[1]) == 0);
    ::close(report.ends[1]);
    text_of_pipe const said{report.ends[0]};
    EXPECT(said.has("report_from_here"));
    EXPECT(said.has("worker"));
    count(other.over);
    ::pthread_join(thread, nullptr);
}

#if !defined(UNDER_SANITIZER)
[[gnu::noinline]] void store_nowhere(int volatile* to) {
    *to = 42;
    asm volatile("" : : : "memory");
}

void check_crash() {
    pipe_pair report;
    pid_t const child = ::fork();
    if (child == 0) {
        guard signals{on_crash(dump_threads.to(report.ends[1]))};
        int* volatile nowhere = reinterpret_cast<int*>(16);  // not known to the compiler
        store_nowhere(nowhere);
        ::_exit(0);
    }
    ::close(report.ends[1]);
    text_of_pipe const said{report.ends[0]};
    int status = 0;
    EXPECT(::waitpid(child, &status, 0) == child);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    EXPECT(said.has("SIGSEGV"));
    EXPECT(said.has("store_nowhere"));
}
#endif

}  // namespace

int main() {
    consumers::end_within(60);
    check_rows();
    check_refusal();
    check_dump();
#if !defined(UNDER_SANITIZER)
    check_crash();
#endif
    return consumers::verdict();
}
