// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/dump.hpp>
#include <tocsin/exit_with.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/guarded.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/wake.hpp>

#include <fenv.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using namespace tocsin;
using namespace tocsin::test;

namespace {

constexpr std::size_t page = 4096;

// A page that nobody may touch.
char* forbidden_page() {
    void* const made = ::mmap(nullptr, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require_in_child(made != MAP_FAILED);
    return static_cast<char*>(made);
}

char read_byte(char const* from) { return *static_cast<char const volatile*>(from); }
void write_byte(char* to) { *static_cast<char volatile*>(to) = 1; }

// A page of a file that ends before it.
char* page_behind_the_end() {
    int const fd = ::memfd_create("empty", MFD_CLOEXEC);
    void* const made = ::mmap(nullptr, page, PROT_READ, MAP_SHARED, fd, 0);
    require_in_child(fd >= 0 && made != MAP_FAILED);
    ::close(fd);
    return static_cast<char*>(made);
}

void raise_trap() {
#if defined(__x86_64__)
    __asm__ volatile("int3");
#else
    __asm__ volatile("brk #0");
#endif
}

// Too deep for any stack, without a tail call.
[[gnu::noinline]] unsigned dig(unsigned depth) {
    char volatile room[512];
    room[0] = static_cast<char>(depth);
    return depth == ~0U ? 0 : dig(depth + 1) + static_cast<unsigned char>(room[0]);
}

std::uint64_t mask_of_thread() {
    sigset_t now;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
    std::uint64_t word;
    std::memcpy(&word, &now, sizeof word);
    return word;
}

bool on_alternate_stack() {
    stack_t now{};
    ::sigaltstack(nullptr, &now);
    return (now.ss_flags & SS_ONSTACK) != 0;
}

struct immovable {
    int number;
    explicit immovable(int n) : number{n} {}
    immovable(immovable const&) = delete;
    immovable& operator=(immovable const&) = delete;
};

}  // namespace

TEST_CASE("a guarded call answers what its function answers", "[guarded]") {
    in_child([] {
        auto const number = guarded<SIGSEGV>([] { return 7; });
        require_in_child(number && *number == 7 && number.value() == 7 && number.fault().signal() == 0);
        auto owned = guarded<SIGSEGV, SIGBUS>([] { return std::make_unique<int>(8); });
        require_in_child(**owned == 8);
        std::unique_ptr<int> const taken = std::move(owned).value();
        require_in_child(*taken == 8);
        int there = 9;
        auto const same = guarded<SIGBUS>([&]() -> int& { return there; });
        require_in_child(&*same == &there);
        auto const stays = guarded<SIGSEGV>([] { return immovable{10}; });
        require_in_child(stays->number == 10);
        bool called = false;
        require_in_child(bool{guarded<SIGSEGV>([&] { called = true; })} && called);
    });
}

TEST_CASE("a fault becomes its signal, code and address", "[guarded]") {
    in_child([] {
        char* const forbidden = forbidden_page();
        auto const read = guarded<SIGSEGV, SIGBUS>([&] { return read_byte(forbidden + 17); });
        require_in_child(!read && read.fault().signal() == SIGSEGV && read.fault().code() == SEGV_ACCERR);
        require_in_child(read.fault().address() == forbidden + 17);
        require_in_child(read.value_or('x') == 'x');

        auto const written = guarded<SIGSEGV>([&] { write_byte(forbidden); });
        require_in_child(!written && written.fault().address() == forbidden);

        ::munmap(forbidden, page);
        auto const unmapped = guarded<SIGSEGV>([&] { return read_byte(forbidden); });
        require_in_child(!unmapped && unmapped.fault().code() == SEGV_MAPERR);

        char* const behind = page_behind_the_end();
        auto const cut = guarded<SIGSEGV, SIGBUS>([&] { return read_byte(behind + 3); });
        require_in_child(!cut && cut.fault().signal() == SIGBUS && cut.fault().code() == BUS_ADRERR);
        require_in_child(cut.fault().address() == behind + 3);
    });
}

TEST_CASE("every fault signal can be guarded", "[guarded]") {
    in_child([] {
        auto const trap = guarded<SIGTRAP>([] { raise_trap(); });
        require_in_child(trap.fault().signal() == SIGTRAP);
        auto const illegal = guarded<SIGILL, SIGTRAP>([] { __builtin_trap(); });
        require_in_child(illegal.fault().signal() == SIGILL || illegal.fault().signal() == SIGTRAP);
#if defined(__x86_64__)
        auto const divided = guarded<SIGFPE>([] {
            int low = 1;
            int high = 0;
            __asm__ volatile("idivl %2" : "+a"(low), "+d"(high) : "r"(0));
        });
        require_in_child(divided.fault().signal() == SIGFPE && divided.fault().code() == FPE_INTDIV);
        // an address that is none: the processor does not tell which
        auto const none = guarded<SIGSEGV>(
            [] { return read_byte(reinterpret_cast<char const*>(std::uintptr_t{0x4711'0000'0000'0000})); });
        require_in_child(none.fault().signal() == SIGSEGV && none.fault().address() == nullptr);
#endif
    });
}

TEST_CASE("the value of a guarded call that met a fault is refused with its signal", "[guarded]") {
    in_child([] {
        char* const forbidden = forbidden_page();
        auto const read = guarded<SIGSEGV>([&] { return read_byte(forbidden); });
        bool refused = false;
        try {
            static_cast<void>(read.value());
        } catch (error const& e) {
            refused = e.code() == EFAULT && e.signal() == SIGSEGV;
        }
        require_in_child(refused);
    });
}

TEST_CASE("a fault takes the innermost call that names its signal", "[guarded]") {
    in_child([] {
        char* const forbidden = forbidden_page();
        int after = 0;
        auto const outer = guarded<SIGSEGV>([&] {
            auto const inner = guarded<SIGSEGV>([&] { return read_byte(forbidden); });
            require_in_child(!inner);
            auto const other = guarded<SIGBUS>([] { return 1; });
            require_in_child(bool{other});
            ++after;
            auto const passed_by = guarded<SIGBUS>([&] { return read_byte(forbidden); });
            ++after;
            return passed_by ? 1 : 2;
        });
        require_in_child(!outer && outer.fault().signal() == SIGSEGV && after == 1);
        // and nothing is left of the inner ones
        auto const again = guarded<SIGSEGV>([&] { return read_byte(forbidden); });
        require_in_child(!again);
    });
}

TEST_CASE("after a fault mask and alternate stack are as before, and the thread can fault again", "[guarded]") {
    in_child([] {
        char* const forbidden = forbidden_page();
        block_signal(SIGUSR2);
        static_cast<void>(guarded<SIGSEGV>([] {}));
        auto const mask = mask_of_thread();
        for (int i = 0; i < 10'000; ++i) {
            auto const read = guarded<SIGSEGV>([&] { return read_byte(forbidden); });
            require_in_child(!read);
        }
        require_in_child(mask_of_thread() == mask && !on_alternate_stack());
        // no mark of being inside is left that a withdrawal would wait for
        guard signals{on_crash<SIGSEGV>(in_handler([](delivery const&) noexcept {}))};
    });
}

#if defined(__x86_64__)
// Faults while a number is on the stack of the x87 unit.
[[gnu::noinline]] long double add_from(long double const volatile* from, long double const volatile* to) {
    long double sum;
    __asm__ volatile(
        "fldt %1\n\t"
        "fldt %2\n\t"
        "faddp"
        : "=t"(sum)
        : "m"(*to), "m"(*from));
    return sum;
}

TEST_CASE("a fault amid a calculation leaves the floating-point units as before the call", "[guarded]") {
    in_child([] {
        auto* const forbidden = reinterpret_cast<long double const volatile*>(forbidden_page());
        long double volatile a = 1;
        long double volatile b = 2;
        long double volatile c = 3;
        for (int i = 0; i < 16; ++i)
            require_in_child(!guarded<SIGSEGV>([&] { return static_cast<double>(add_from(forbidden, &a)); }));
        require_in_child((a + b) * (b + c) + (c - a) * (a + c) == 23);

        ::feenableexcept(FE_DIVBYZERO);
        long double volatile zero = 0;
        auto const divided = guarded<SIGFPE>([&] {
            long double volatile const quotient = a / zero;
            long double volatile const next = quotient + a;  // where the unit reports it
            static_cast<void>(next);
        });
        require_in_child(divided.fault().code() == FPE_FLTDIV);
        require_in_child(a + b == 3 && ::fegetexcept() == FE_DIVBYZERO);
    });
}
#endif

TEST_CASE("an exception leaves a guarded call, which counts no longer", "[guarded]") {
    auto process = child::run([] {
        char* const forbidden = forbidden_page();
        int caught = 0;
        try {
            static_cast<void>(guarded<SIGSEGV>([&]() -> int { throw 5; }));
        } catch (int number) {
            caught = number;
        }
        require_in_child(caught == 5);
        say("outside");
        read_byte(forbidden);
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.killed_by(SIGSEGV));
    CHECK(result.out == "outside\n");
}

TEST_CASE("a fault outside is a crash, with the disposition that was there", "[guarded]") {
    bool const ignored = GENERATE(false, true);
    auto process = child::run([ignored] {
        if (ignored) ::signal(SIGSEGV, SIG_IGN);
        char* const forbidden = forbidden_page();
        static_cast<void>(guarded<SIGSEGV>([] {}));
        read_byte(forbidden);
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.killed_by(SIGSEGV));
}

TEST_CASE("a signal that was sent is no fault", "[guarded]") {
    auto process = child::run([] {
        auto const sent = guarded<SIGSEGV>([] { ::raise(SIGSEGV); });
        say(sent ? "returned" : "taken");
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.killed_by(SIGSEGV));
    CHECK(result.out.empty());
}

TEST_CASE("a fault inside is no crash, whoever came first, and one outside is reported", "[guarded]") {
    bool const guard_first = GENERATE(false, true);
    bool const outside = GENERATE(false, true);
    auto process = child::run([guard_first, outside] {
        char* const forbidden = forbidden_page();
        if (!guard_first) static_cast<void>(guarded<SIGSEGV>([] {}));
        guard signals{on_crash(dump_threads)};
        auto const read = guarded<SIGSEGV>([&] { return read_byte(forbidden); });
        require_in_child(!read);
        say("inside");
        if (outside) read_byte(forbidden);
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.out == "inside\n");
    CHECK(outside == result.killed_by(SIGSEGV));
    CHECK(outside != result.err.empty());
    CHECK(outside == (result.err.find("SIGSEGV") != std::string::npos));
}

TEST_CASE("a fault inside is none for any row on its signal", "[guarded]") {
    in_child([] {
        char* const forbidden = forbidden_page();
        static volatile sig_atomic_t met;
        static_cast<void>(guarded<SIGSEGV>([] {}));
        guard signals{on<SIGSEGV>(in_handler([](delivery const&) noexcept { met = 1; }), exit_with(3))};
        auto const read = guarded<SIGSEGV>([&] { return read_byte(forbidden); });
        require_in_child(!read && met == 0);
    });
}

TEST_CASE("a fault in a handler that interrupts a guarded call is a crash", "[guarded]") {
    auto process = child::run([] {
        static char* const forbidden = forbidden_page();
        guard signals{on<SIGUSR1>(in_handler([](delivery const&) noexcept { read_byte(forbidden); }))};
        auto const called = guarded<SIGSEGV>([] { ::raise(SIGUSR1); });
        say(called ? "returned" : "taken");
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.killed_by(SIGSEGV));
    CHECK(result.out.empty());
}

TEST_CASE("the previous handler meets a fault outside, and none inside", "[guarded]") {
    in_child([] {
        static char* const forbidden = forbidden_page();
        static volatile sig_atomic_t met;
        auto const repair = [](int, siginfo_t*, void*) {
            met = met + 1;
            ::mprotect(forbidden, page, PROT_READ);
        };
        auto const action = make_action(+repair);
        ::sigaction(SIGSEGV, &action, nullptr);
        auto const inside = guarded<SIGSEGV>([] { return read_byte(forbidden); });
        require_in_child(!inside && met == 0);
        require_in_child(read_byte(forbidden) == 0 && met == 1);
        ::mprotect(forbidden, page, PROT_NONE);
        require_in_child(read_byte(forbidden) == 0 && met == 2);
    });
}

TEST_CASE("every thread has its own guarded calls", "[guarded]") {
    in_child([] {
        char* const forbidden = forbidden_page();
        std::vector<std::thread> all;
        for (int i = 0; i < 8; ++i)
            all.emplace_back([forbidden, i] {
                for (int round = 0; round < 2000; ++round) {
                    auto const read = guarded<SIGSEGV>([&] { return read_byte(forbidden + i); });
                    require_in_child(!read && read.fault().address() == forbidden + i);
                }
            });
        for (auto& each : all) each.join();
    });
}

TEST_CASE("the fault of a thread that is in no guarded call is a crash", "[guarded]") {
    auto process = child::run([] {
        char* const forbidden = forbidden_page();
        auto const called = guarded<SIGSEGV>([&] { std::thread{[&] { read_byte(forbidden); }}.join(); });
        say(called ? "returned" : "taken");
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.killed_by(SIGSEGV));
    CHECK(result.out.empty());
}

TEST_CASE("records of threads that have ended are used again", "[guarded]") {
    in_child([] {
        for (int i = 0; i < 100; ++i) std::thread{[] { static_cast<void>(guarded<SIGSEGV>([] {})); }}.join();
        unsigned records = 0;
        for (auto* at = in_signal::guarded_threads.load(); at != nullptr; at = at->next) ++records;
        require_in_child(records == 1);
    });
}

TEST_CASE("a stack overflow is a fault like others", "[guarded]") {
    bool const in_thread = GENERATE(false, true);
    in_child([in_thread] {
        rlimit limit{1 << 20, 1 << 20};
        ::setrlimit(RLIMIT_STACK, &limit);
        auto const overflow = [] {
            for (int i = 0; i < 3; ++i) {
                auto const deep = guarded<SIGSEGV>([] { return dig(0); });
                require_in_child(!deep && deep.fault().signal() == SIGSEGV);
            }
        };
        if (in_thread)
            std::thread{overflow}.join();
        else
            overflow();
    });
}

TEST_CASE("a forked child has guarded calls of its own", "[guarded]") {
    in_child([] {
        char* const forbidden = forbidden_page();
        auto const outer = guarded<SIGSEGV>([&] {
            require_fork([&] {
                auto const read = guarded<SIGSEGV>([&] { return read_byte(forbidden); });
                require_in_child(!read);
            });
            return 1;
        });
        require_in_child(bool{outer});
    });
}

TEST_CASE("the claims can be given back, and taken again", "[guarded]") {
    in_child([] {
        char* const forbidden = forbidden_page();
        static_cast<void>(guarded<SIGSEGV, SIGBUS>([] {}));
        require_in_child(action_of(SIGSEGV).sa_handler != SIG_DFL);
        release_guarded();
        require_in_child(action_of(SIGSEGV).sa_handler == SIG_DFL && action_of(SIGBUS).sa_handler == SIG_DFL);
        auto const read = guarded<SIGSEGV>([&] { return read_byte(forbidden); });
        require_in_child(!read);
    });
}

TEST_CASE("neither a call with nothing raised nor the way out of a fault makes a system call", "[guarded]") {
    in_child([] {
        char* const forbidden = forbidden_page();
        static_cast<void>(guarded<SIGSEGV>([] {}));
        // from here on the kernel kills at every call but read, write, exit and a handler's return
        if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) return;
        int sum = 0;
        for (int i = 0; i < 1000; ++i) sum += *guarded<SIGSEGV>([&] { return i & 1; });
        auto const read = guarded<SIGSEGV>([&] { return read_byte(forbidden); });
        ::syscall(SYS_exit, sum == 500 && !read ? 0 : 1);
    });
}
