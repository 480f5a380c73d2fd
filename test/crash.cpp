// SPDX-License-Identifier: MIT
// Crashes: what the report says, who is in it, and that the process ends as it would have without us.
#include <tocsin/call.hpp>
#include <tocsin/chain.hpp>
#include <tocsin/dump.hpp>
#include <tocsin/exit_with.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/simulate.hpp>
#include <tocsin/thread_guard.hpp>

#include <assert.h>
#include <dlfcn.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/report_text.hpp"

using namespace tocsin;
using test::child;
using test::reported_thread;
using test::thread_with;

// Functions that crash, with names to look for. They are hidden from the optimiser, which would make what it likes of
// undefined behaviour, and from sanitizers, which would speak first.
template <class T>
static T* opaque(T* pointer) {
    __asm__ volatile("" : "+r"(pointer));
    return pointer;
}

__attribute__((noinline, no_sanitize("address", "undefined")))
static void read_null() { [[maybe_unused]] int volatile const x = *opaque<int volatile>(nullptr); }
__attribute__((noinline, no_sanitize("address", "undefined")))
static void write_null() { *opaque<int volatile>(nullptr) = 42; }
__attribute__((noinline, no_sanitize("address", "undefined")))
static void call_null() {
    reinterpret_cast<void (*)()>(opaque<void>(nullptr))();
    __asm__ volatile("");
}
__attribute__((noinline, no_sanitize("address", "undefined")))
static void read_wild() {
    [[maybe_unused]] int volatile const x = *opaque(reinterpret_cast<int volatile*>(0x123456789000));
}
__attribute__((noinline, no_sanitize("address", "undefined")))
static void read_non_canonical() {
    [[maybe_unused]] int volatile const x = *opaque(reinterpret_cast<int volatile*>(0xdead000000000000));
}
__attribute__((noinline, no_sanitize("address", "undefined")))
static void call_heap() {
    void* const heap = std::calloc(1, 64);
    reinterpret_cast<void (*)()>(opaque(heap))();
    __asm__ volatile("");
}
__attribute__((noinline, no_sanitize("address", "undefined")))
static void write_constant() { *opaque(const_cast<char volatile*>("constant")) = 'C'; }
__attribute__((noinline, no_sanitize("address", "undefined")))
static void abort_here() {
    std::abort();
}
__attribute__((noinline, no_sanitize("address", "undefined")))
static void assert_here() {
    bool const happened = opaque<int>(nullptr) != nullptr;
    if (!happened) __assert_fail("happened", "file", 1, "assert_here");
}
#if defined(__x86_64__)
__attribute__((noinline, no_sanitize("address", "undefined")))
static void divide_by_zero() {
    int zero = 0;
    __asm__ volatile("cltd\n\tidivl %0" : "+r"(zero) : "a"(1) : "edx", "cc");
}
__attribute__((noinline, no_sanitize("address", "undefined")))
static void illegal_instruction() { __asm__ volatile("ud2"); }
__attribute__((noinline, no_sanitize("address", "undefined")))
static void breakpoint() { __asm__ volatile("int3"); }
#else
__attribute__((noinline, no_sanitize("address", "undefined")))
static void illegal_instruction() { __asm__ volatile("udf #0"); }
__attribute__((noinline, no_sanitize("address", "undefined")))
static void breakpoint() { __asm__ volatile("brk #0"); }
#endif
__attribute__((noinline, no_sanitize("address", "undefined")))
static void bus_error() {
    int const file = ::memfd_create("short", MFD_CLOEXEC);
    auto* const page = static_cast<char volatile*>(::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file, 0));
    [[maybe_unused]] char const x = page[100];
}
static std::size_t overflow_stack(std::size_t depth);
static std::size_t (*volatile overflow)(std::size_t) = overflow_stack;
__attribute__((noinline, no_sanitize("address", "undefined")))
static std::size_t overflow_stack(std::size_t depth) {
    char volatile page[4096];
    page[depth % sizeof page] = 1;
    std::size_t const below = overflow(depth + 1);
    return below + static_cast<std::size_t>(page[depth % sizeof page]);
}

namespace {

struct crash_kind {
    char const* what;
    void (*crash)();
    int signal;
    char const* reason;
    char const* function;     // that the report names as the one that crashed
    std::size_t frame = 0;    // its number
};

constexpr crash_kind kinds[] = {
    {"read of null", read_null, SIGSEGV, "(address not mapped) at 0x0000000000000000", "read_null()"},
    {"write to null", write_null, SIGSEGV, "(address not mapped) at 0x0000000000000000", "write_null()"},
    {"call of null", call_null, SIGSEGV, "(address not mapped) at 0x0000000000000000", "call_null()", 1},
    {"wild pointer", read_wild, SIGSEGV, "(address not mapped) at 0x0000123456789000", "read_wild()"},
#if defined(__x86_64__)
    {"non-canonical pointer", read_non_canonical, SIGSEGV, "(by the kernel, which does not know the address),",
     "read_non_canonical()"},
    {"division by zero", divide_by_zero, SIGFPE, "(integer divided by zero) at 0x", "divide_by_zero()"},
    {"breakpoint", breakpoint, SIGTRAP, "(by the kernel", "breakpoint()"},
#else
    {"breakpoint", breakpoint, SIGTRAP, "(breakpoint) at 0x", "breakpoint()"},
#endif
    {"call of the heap", call_heap, SIGSEGV, "(no permission for this access) at 0x", "call_heap()", 1},
    {"write to a constant", write_constant, SIGSEGV, "(no permission for this access) at 0x", "write_constant()"},
    {"illegal instruction", illegal_instruction, SIGILL, "(illegal operand) at 0x", "illegal_instruction()"},
    {"bus error", bus_error, SIGBUS, "(no memory behind this address) at 0x", "bus_error()"},
};

bool starts_in_the_library(reported_thread const& thread) {
    return thread.frames.empty() || thread.frames[0].find("tocsin") != std::string::npos;
}

[[noreturn]] void sleep_for_ever() {
    for (;;) ::pause();
}

}  // namespace

TEST_CASE("a crash is reported where it happened, with its reason, and the process dies of it", "[crash]") {
    for (crash_kind const& kind : kinds) {
        auto victim = child::run([&kind] {
            guard signals{on_crash(dump_threads)};
            kind.crash();
        });
        auto const& end = victim.wait();
        INFO(kind.what << ": " << end.describe());
        CHECK(end.killed_by(kind.signal));
        std::string const title = "tocsin: " + std::string{name(kind.signal).c_str()} + " " + kind.reason;
        CHECK(end.err.find(title) == 0);
        reported_thread const first = thread_with(end.err, "where it happened");
        CHECK(first.frame_is(kind.frame, kind.function));
        CHECK(first.names("main+0x"));
        CHECK(first.names("tocsin_entry") == false);
        CHECK(end.err.find("tocsin: end of report, 1 thread\n") != std::string::npos);
    }
}

TEST_CASE("abort and a failed assertion are reported with their caller, and end in SIGABRT", "[crash]") {
    bool const assertion = GENERATE(false, true);
    auto victim = child::run([assertion] {
        guard signals{on_crash(dump_threads)};
        assertion ? assert_here() : abort_here();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGABRT));
    CHECK(end.err.find("tocsin: SIGABRT sent by process " + std::to_string(victim.pid())) != std::string::npos);
    reported_thread const first = thread_with(end.err, "where it happened");
    CHECK(first.names("abort"));
    CHECK(first.names(assertion ? "assert_here()+0x" : "abort_here()+0x"));
    CHECK_FALSE(starts_in_the_library(first));
}

TEST_CASE("a fault signal that was sent is reported as sent, never as a fault, and kills all the same", "[crash]") {
    int const way = GENERATE(0, 1, 2);
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads)};
        test::say("ready");
        sleep_for_ever();
    });
    REQUIRE(victim.expect_line("ready"));
    if (way == 0) victim.signal(SIGSEGV);
    if (way == 1) victim.queue(SIGSEGV, 0x7654321);
    if (way == 2) ::syscall(SYS_tgkill, victim.pid(), victim.pid(), SIGSEGV);
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(end.err.find("tocsin: SIGSEGV sent by process " + std::to_string(::getpid()) + " of user " +
                       std::to_string(::getuid()) + ", process ") == 0);
    CHECK(end.err.find(" at 0x") == std::string::npos);
}

TEST_CASE("a crash on a worker shows the worker first, then the main thread, then the others", "[crash]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads)};
        std::atomic<bool> go{false};
        std::atomic<int> other{0};
        std::thread third{[&] {
            thread_guard here{"third"};
            other = test::thread_id();
            sleep_for_ever();
        }};
        std::thread second{[&] {
            thread_guard here{"second"};
            test::until_set(go);
            write_null();
        }};
        while (other == 0) ::sched_yield();
        test::until_asleep(other);
        go = true;
        sleep_for_ever();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    auto const threads = test::threads_of(end.err);
    REQUIRE(threads.size() == 3);
    CHECK(threads[0].head.find("\"second\", where it happened:") != std::string::npos);
    CHECK(threads[0].frame_is(0, "write_null()"));
    CHECK(threads[1].head.find("thread " + std::to_string(victim.pid()) + " ") == 0);
    CHECK(threads[2].head.find("\"third\":") != std::string::npos);
    CHECK(threads[2].waits_in("pause"));
}

TEST_CASE("a crash in a forked child is reported by the child, which dies of it; the parent goes on", "[crash]") {
    auto family = child::run([] {
        guard signals{on_crash(dump_threads)};
        std::atomic<bool> ready{false};
        std::thread other{[&] {
            ready = true;
            sleep_for_ever();
        }};
        test::until_set(ready);
        pid_t const pid = ::fork();
        if (pid == 0) write_null();
        int status = 0;
        test::require_in_child(::waitpid(pid, &status, 0) == pid);
        test::require_in_child(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
        ::_exit(0);
    });
    auto const& end = family.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    CHECK(thread_with(end.err, "where it happened").frame_is(0, "write_null()"));
    CHECK(end.err.find("end of report, 1 thread\n") != std::string::npos);
}

TEST_CASE("a crash in a called function on the dispatcher is reported", "[crash]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads), on<SIGUSR1>(call([] { write_null(); }))};
        ::kill(::getpid(), SIGUSR1);
        sleep_for_ever();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    reported_thread const first = thread_with(end.err, "where it happened");
    CHECK(first.head.find("\"tocsin-dispatch\"") != std::string::npos);
    CHECK(first.frame_is(0, "write_null()"));
}

TEST_CASE("a crash inside in_handler is reported through to what the handler had interrupted", "[crash]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads), on<SIGUSR1>(in_handler([](delivery const&) noexcept { write_null(); }))};
        ::raise(SIGUSR1);
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    reported_thread const first = thread_with(end.err, "where it happened");
    CHECK(first.frame_is(0, "write_null()"));
    CHECK(first.names("raise"));
    CHECK(first.names("main+0x"));
}

TEST_CASE("a function that faults amid a crash does not keep the crash from being reported", "[crash]") {
    bool const guards = GENERATE(false, true);
    auto victim = child::run([=] {
        auto const broken = in_handler([](delivery const&) noexcept { write_null(); });
        if (guards) {
            guard outer{on_crash(dump_threads)};
            guard inner{on_crash(broken, chain)};
            read_wild();
        }
        guard signals{on_crash(broken, dump_threads)};
        read_wild();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    reported_thread const first = thread_with(end.err, "where it happened");
    CHECK(first.frame_is(0, "write_null()"));
    CHECK(first.names("read_wild()"));
}

TEST_CASE("two threads that crash at once are both accounted for, each where it crashed", "[crash]") {
    for (int round = 0; round < 5; ++round) {
        auto victim = child::run([] {
            guard signals{on_crash(dump_threads)};
            std::atomic<int> ready{0};
            auto const together = [&ready](char const* thread_name, void (*crash)()) {
                thread_guard here{thread_name};
                for (++ready; ready != 2;) ::sched_yield();
                crash();
            };
            std::thread one{[&] { together("one", write_null); }};
            std::thread two{[&] { together("two", illegal_instruction); }};
            sleep_for_ever();
        });
        auto const& end = victim.wait();
        INFO(end.describe());
        CHECK((end.killed_by(SIGSEGV) || end.killed_by(SIGILL)));
        CHECK(end.err.find("SIGSEGV (address not mapped)") != std::string::npos);
        CHECK(end.err.find("SIGILL (illegal operand)") != std::string::npos);
        CHECK(test::count_of(end.err, "end of report, 3 threads\n") == 1);
        CHECK(test::count_of(end.err, "tocsin: SIG") == 1);
        CHECK((thread_with(end.err, "\"one\"").frame_is(0, "write_null()") ||
               end.err.find("crashed too: SIGSEGV") != std::string::npos));
        CHECK((thread_with(end.err, "\"two\"").frame_is(0, "illegal_instruction()") ||
               end.err.find("crashed too: SIGILL") != std::string::npos));
    }
}

TEST_CASE("64 threads that crash at a barrier are all accounted for", "[crash]") {
    for (int round = 0; round < 20; ++round) {
        auto victim = child::run([] {
            guard signals{on_crash(dump_threads)};
            pthread_barrier_t barrier;
            ::pthread_barrier_init(&barrier, nullptr, 64);
            for (int i = 0; i < 64; ++i)
                std::thread{[&barrier] {
                    thread_guard here{"crasher"};
                    ::pthread_barrier_wait(&barrier);
                    write_null();
                }}.detach();
            sleep_for_ever();
        });
        auto const& end = victim.wait();
        INFO(end.describe().substr(0, 4000));
        CHECK(end.killed_by(SIGSEGV));
        CHECK(test::count_of(end.err, ", where it happened:") == 1);
        CHECK(test::count_of(end.err, "which crashed too: SIGSEGV (address not mapped)") == 63);
        CHECK(test::count_of(end.err, "end of report, 65 threads\n") == 1);
    }
}

TEST_CASE("as the first process of a container a crash ends in the status that shells give it", "[crash]") {
    auto outside = child::run([] {
        if (::unshare(CLONE_NEWPID) != 0) return 77;
        pid_t const first = ::fork();
        if (first == 0) {
            if (::getpid() != 1) ::_exit(78);
            guard signals{on_crash(dump_threads)};
            if (::getppid() == 0) abort_here();
        }
        int status = 0;
        ::waitpid(first, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 79;
    });
    auto const& end = outside.wait();
    INFO(end.describe());
    if (end.exited(77)) {
        WARN("skipped: a process namespace may not be made here (needs root)");
        return;
    }
    CHECK(end.exited(128 + SIGABRT));
    CHECK(end.err.find("tocsin: SIGABRT ") == 0);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they bring another malloc
TEST_CASE("a crash inside malloc, its lock held, is reported", "[crash]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads)};
        std::thread other{[] { sleep_for_ever(); }};  // or malloc would take no lock
        void* const chunk = std::malloc(2000);
        void* const separator = opaque(std::malloc(2000));
        auto** const links = opaque(static_cast<void**>(chunk));
        std::free(opaque(chunk));
        // the links of a free chunk: taking it out of its list reads through them
        links[0] = links[1] = opaque(reinterpret_cast<void*>(0x4141414141414141));
        for (std::size_t size = 3000; size > 0; --size) opaque(std::malloc(size));
        std::free(separator);
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK((end.killed_by(SIGSEGV) || end.killed_by(SIGABRT)));
    CHECK(thread_with(end.err, "where it happened").names("malloc"));
    CHECK(end.err.find("tocsin: end of report, 2 threads") != std::string::npos);
}
#endif

TEST_CASE("a crash while the loader's lock is held, by another thread or by its own, is reported", "[crash]") {
    bool const own = GENERATE(false, true);
    auto victim = child::run([own] {
        guard signals{on_crash(dump_threads)};
        static std::atomic<bool> inside{false};
        inside = false;
        auto const hold = [](bool crash) {
            ::dl_iterate_phdr(
                [](dl_phdr_info*, std::size_t, void* wanted) {
                    if (wanted != nullptr) write_null();
                    inside = true;
                    sleep_for_ever();
                    return 0;
                },
                crash ? &inside : nullptr);
        };
        std::thread holder{[&] { hold(own); }};
        test::until_set(inside);
        write_null();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(thread_with(end.err, "where it happened").frame_is(0, "write_null()"));
    CHECK(end.err.find("dl_iterate_phdr") != std::string::npos);
    CHECK(end.err.find("tocsin: end of report, 2 threads") != std::string::npos);
}

TEST_CASE("an overflow of the main thread's stack is reported, and dies of SIGSEGV", "[crash]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads)};
        return static_cast<int>(overflow_stack(1));
    });
    auto const& end = victim.wait();
    INFO(end.describe().substr(0, 4000));
    CHECK(end.killed_by(SIGSEGV));
    CHECK(thread_with(end.err, "where it happened").frame_is(0, "overflow_stack(unsigned long)"));
    CHECK(end.err.find("more frames") != std::string::npos);
    CHECK(end.err.find("tocsin: end of report") != std::string::npos);
}

TEST_CASE("in_handler before a dump runs before the report, after it after it", "[crash]") {
    static int fd = -1;
    auto const mark = [](delivery const& d) noexcept {
        char const text[] = "marked\n";
        if (d.signal() == SIGSEGV && ::write(fd, text, sizeof text - 1) < 0) ::_exit(98);
    };
    fd = 2;
    bool const before = GENERATE(false, true);
    auto victim = child::run([&] {
        if (before) {
            guard signals{on_crash(in_handler(mark), dump_threads)};
            write_null();
        }
        guard signals{on_crash(dump_threads, in_handler(mark))};
        write_null();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(test::count_of(end.err, "marked\n") == 1);
    CHECK((end.err.find("marked\n") < end.err.find("tocsin: SIGSEGV")) == before);
    CHECK((end.err.find("marked\n") > end.err.find("end of report")) == !before);
}

TEST_CASE("on_crash(in_handler(f)) alone calls f with the fault's address, and the process dies of it", "[crash]") {
    auto victim = child::run([] {
        guard signals{on_crash(in_handler([](delivery const& d) noexcept {
            test::require_in_child(d.signal() == SIGSEGV && d.code() == SEGV_MAPERR);
            test::require_in_child(d.address() == reinterpret_cast<void*>(0x123456789000) && d.context() != nullptr);
            char const text[] = "called\n";
            test::require_in_child(::write(2, text, sizeof text - 1) > 0);
        }))};
        read_wild();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(end.err == "called\n");
}

namespace {

char* guarded_page = nullptr;
void repair(int, siginfo_t* info, void*) {
    if (info->si_code == SEGV_ACCERR && info->si_addr == guarded_page + 8)
        ::mprotect(guarded_page, 4096, PROT_READ | PROT_WRITE);
    else
        ::_exit(50);
}
void install(int signal, void (*handler)(int, siginfo_t*, void*), int flags = 0) {
    struct sigaction action {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | flags;
    ::sigaction(signal, &action, nullptr);
}

}  // namespace

TEST_CASE("chain after a dump lets a previous handler repair the fault, each time", "[crash]") {
    auto survivor = child::run([] {
        install(SIGSEGV, repair);
        guarded_page = static_cast<char*>(::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        guard signals{on_crash(dump_threads, chain)};
        for (int i = 0; i < 2; ++i) {
            ::mprotect(guarded_page, 4096, PROT_READ);
            *opaque(guarded_page + 8) = 1;
            test::say("repaired");
        }
        return guarded_page[8] == 1 ? 0 : 1;
    });
    auto const& end = survivor.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    CHECK(test::count_of(end.err, "SIGSEGV (no permission for this access)") == 2);
    CHECK(test::count_of(end.err, "end of report") == 2);
}

TEST_CASE("without chain the previous handler is called by the kernel, with the original details", "[crash]") {
    auto survivor = child::run([] {
        install(SIGSEGV, repair);
        guarded_page = static_cast<char*>(::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        guard signals{on_crash(dump_threads)};
        *opaque(guarded_page + 8) = 1;
        struct sigaction now {};
        ::sigaction(SIGSEGV, nullptr, &now);
        return now.sa_sigaction == repair ? 0 : 1;
    });
    auto const& end = survivor.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    CHECK(test::count_of(end.err, "end of report") == 1);
}

TEST_CASE("a previous handler sees code and address of the fault, chained to or called by the kernel", "[crash]") {
    bool const chained = GENERATE(false, true);
    auto const handler = [](int signal, siginfo_t* info, void*) {
        bool const right = signal == SIGSEGV && info->si_code == SEGV_MAPERR &&
                           info->si_addr == reinterpret_cast<void*>(0x123456789000);
        ::_exit(right ? 42 : 43);
    };
    auto victim = child::run([&] {
        install(SIGSEGV, handler);
        if (chained) {
            guard signals{on_crash(dump_threads, chain)};
            read_wild();
        }
        guard signals{on_crash(dump_threads)};
        read_wild();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.exited(42));
    CHECK(test::count_of(end.err, "end of report") == 1);
}

TEST_CASE("exit_with after a dump ends the process with the code once the report is out", "[crash]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads, exit_with(3))};
        write_null();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.exited(3));
    CHECK(end.err.find("tocsin: end of report, 1 thread\n") != std::string::npos);
}

TEST_CASE("a simulated crash is reported on the caller, and dies as a real one", "[crash]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads)};
        simulate(SIGSEGV);
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(end.err.find("tocsin: SIGSEGV sent by process " + std::to_string(victim.pid())) == 0);
    CHECK(thread_with(end.err, "where it happened").names("main+0x"));
}

TEST_CASE("a crash whose report nobody reads, or nobody can read, still ends in its signal", "[crash]") {
    bool const closed = GENERATE(false, true);
    auto victim = child::run([closed] {
        int ends[2];
        test::require_in_child(::pipe2(ends, O_CLOEXEC) == 0);
        ::fcntl(ends[1], F_SETPIPE_SZ, 4096);
        ::fcntl(ends[1], F_SETFL, O_NONBLOCK);
        char const filling[4096]{};
        while (::write(ends[1], filling, sizeof filling) > 0) {
        }
        ::fcntl(ends[1], F_SETFL, 0);
        if (closed) ::close(ends[0]);
        guard signals{on_crash(dump_threads.to(ends[1]))};
        write_null();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
}

TEST_CASE("a thread whose stack pointer is garbage harms neither the report nor the end", "[crash]") {
#if defined(__x86_64__)
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads)};
        thread_guard here;
        __asm__ volatile(
            "movq $0x1234567, %%rsp\n\t"
            "movq $0x89abcde, %%rbp\n\t"
            "movl $1, 0"
            :
            :
            : "memory");
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(end.err.find("tocsin: end of report") != std::string::npos);
#endif
}

TEST_CASE("a fault inside the report is said, and the process still dies of the first one", "[crash]") {
    bool const write_fault = GENERATE(false, true);
    auto victim = child::run([write_fault] {
        guard signals{on_crash(dump_threads)};
        // most of the report's memory is taken away, but not the page that it begins with
        auto& in = *in_signal::the_table.load();
        auto* const desk = in_signal::desk_of(in);
        auto const from = (reinterpret_cast<std::uintptr_t>(&desk->current) + 4095) & ~std::uintptr_t{4095};
        std::uintptr_t const end = reinterpret_cast<std::uintptr_t>(desk) + sizeof *desk;
        ::mprotect(reinterpret_cast<void*>(from), end - from, PROT_NONE);
        write_fault ? write_null() : abort_here();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(write_fault ? SIGSEGV : SIGABRT));
    CHECK(end.err.find("the report ended in a fault of its own") != std::string::npos);
}

TEST_CASE("a fault inside a report on request costs the report, and the process goes on", "[crash]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads)};
        auto* const desk = in_signal::desk_of(*in_signal::the_table.load());
        auto const from = (reinterpret_cast<std::uintptr_t>(&desk->current) + 4095) & ~std::uintptr_t{4095};
        std::uintptr_t const end = reinterpret_cast<std::uintptr_t>(desk) + sizeof *desk;
        ::mprotect(reinterpret_cast<void*>(from), end - from, PROT_NONE);
        return dump(1);
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.exited(EFAULT));
    CHECK(end.out.find("the report ended in a fault of its own") != std::string::npos);
}

TEST_CASE("the main thread may have ended: a worker's crash is reported with names", "[crash]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads)};
        std::thread worker{[] {
            thread_guard here{"worker"};
            while (test::state_of(::getpid()) != 'Z') ::sched_yield();
            write_null();
        }};
        ::syscall(SYS_exit, 0);
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(thread_with(end.err, "where it happened").frame_is(0, "write_null()"));
    CHECK(end.err.find("thread " + std::to_string(victim.pid()) + " ") != std::string::npos);
    CHECK(end.err.find(": has ended\n") != std::string::npos);
}
