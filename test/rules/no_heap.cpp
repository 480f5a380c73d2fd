// SPDX-License-Identifier: MIT
// No allocation and no lock while a thread is inside a handler: counted in a program whose allocation
// functions and mutexes are replaced. First the counter itself, on handlers written by hand; then every row of
// a guard.
#include "support/no_heap.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>

#include <tocsin/tocsin.hpp>

using tocsin::test::no_heap_first;
using tocsin::test::no_heap_violations;

namespace {

[[gnu::aligned(16)]] char alternate_stack[256 * 1024];
std::mutex mutex;
std::string* made = nullptr;
unsigned volatile plain = 0;

void harmless(int) { plain = plain + 1; }
void allocates(int) { made = new std::string(100, 'x'); }
void frees(int) { delete made; }
void locks(int) { std::lock_guard const hold{mutex}; }

unsigned counted_in(void (*handler)(int), int flags) {
    struct sigaction action {};
    struct sigaction before {};
    action.sa_handler = handler;
    action.sa_flags = flags;
    unsigned const start = no_heap_violations();
    ::sigaction(SIGUSR1, &action, &before);
    ::raise(SIGUSR1);
    ::sigaction(SIGUSR1, &before, nullptr);
    return no_heap_violations() - start;
}

int failures = 0;

void expect(bool ok, char const* what) {
    std::printf("%s: %s\n", ok ? "ok" : "FAILED", what);
    if (!ok) ++failures;
}

void check_the_counter() {
    expect(counted_in(harmless, SA_ONSTACK) == 0, "a handler that does nothing is not counted");
    expect(counted_in(allocates, SA_ONSTACK) > 0, "an allocation in a handler is counted");
    expect(counted_in(frees, SA_ONSTACK) > 0, "a deallocation in a handler is counted");
    expect(counted_in(locks, SA_ONSTACK) > 0, "a lock taken in a handler is counted");
    expect(no_heap_first() != nullptr && std::string{no_heap_first()} == "malloc", "the first one is named");
    unsigned const before = no_heap_violations();
    std::string const outside(1000, 'x');
    std::lock_guard const hold{mutex};
    expect(outside.size() == 1000 && no_heap_violations() == before, "what happens outside is not counted");
}

using namespace tocsin;

struct counter {
    void operator()(delivery const&) const noexcept { plain = plain + 1; }
};

void check_every_row() {
    unsigned const before = no_heap_violations();
    int const sink = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    unsigned deferred = 0;
    {
        thread_guard here{"main"};
        guard signals{
            on<SIGTERM>(request_stop),
            on<SIGHUP>(call([&] { __atomic_fetch_add(&deferred, 1, __ATOMIC_SEQ_CST); })),
            on<SIGCHLD, SIGUSR1>(wake),
            on<rt<3>>(wake),
            on<SIGUSR2>(defer([&] { __atomic_fetch_add(&deferred, 1, __ATOMIC_SEQ_CST); })),
            on<SIGPIPE>(ignore),
            on<SIGWINCH>(in_handler(counter{}), wake),
            on<SIGQUIT>(dump_threads.to(sink)),
        };
        for (int round = 0; round < 100; ++round) {
            for (int const number : {SIGHUP, SIGCHLD, SIGUSR1, SIGUSR2, SIGPIPE, SIGWINCH, int{rt<3>}})
                ::raise(number);
            signals.check();
            unsigned long taken = 0;
            for (delivery const& d : signals.take()) taken += d.merged();
            if (taken < 3) expect(false, "what was raised is taken");
        }
        ::raise(SIGQUIT);
        ::raise(SIGTERM);
        expect(signals.stop_requested(), "the stop is seen");
    }
    ::close(sink);
    expect(__atomic_load_n(&deferred, __ATOMIC_SEQ_CST) > 0, "deferred reactions ran");
    expect(no_heap_violations() == before, "no row allocates or locks inside a handler");
}

// The child of a crash tells the count by a pipe: what runs in its handler comes to an end there.
int told = -1;

struct tell {
    void operator()(delivery const&) const noexcept {
        unsigned const count = no_heap_violations();
        if (::write(told, &count, sizeof count) < 0) ::_exit(EXIT_FAILURE);
    }
};

void crash_with_threads(int sink) {
    thread_guard here{"main"};
    guard signals{on_crash(dump_threads.to(sink), in_handler(tell{}), exit_with(EXIT_SUCCESS))};
    std::thread([] {
        thread_guard there{"worker"};
        ::pause();
    }).detach();
    *static_cast<int volatile*>(nullptr) = 42;
}

void check_a_crash() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return expect(false, "there is a pipe");
    int const sink = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    unsigned const before = no_heap_violations();
    pid_t const child = ::fork();
    if (child == 0) {
        told = ends[1];
        crash_with_threads(sink);
        ::_exit(EXIT_FAILURE);
    }
    ::close(ends[1]);
    ::close(sink);
    unsigned after = ~0U;
    expect(::read(ends[0], &after, sizeof after) == sizeof after, "the child crashes and tells");
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    expect(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS, "the row ends the child");
    expect(after == before, "no report of a crash allocates or locks");
}

}  // namespace

int main() {
    stack_t stack{};
    stack.ss_sp = alternate_stack;
    stack.ss_size = sizeof alternate_stack;
    ::sigaltstack(&stack, nullptr);
    check_the_counter();
    check_every_row();
    check_a_crash();
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
