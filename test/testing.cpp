// SPDX-License-Identifier: MIT
#include <tocsin/dump.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/testing.hpp>

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <iterator>
#include <ostream>
#include <set>
#include <string>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/report_text.hpp"

using namespace tocsin;
using test::child;
using testing::fault;

namespace {

rlimit core_limit() {
    rlimit limit{};
    ::getrlimit(RLIMIT_CORE, &limit);
    return limit;
}

// Sanitizers that bring an allocator, which notices a double free in its own way.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool own_allocator = true;
#elif defined(__has_feature)
constexpr bool own_allocator = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool own_allocator = false;
#endif

bool left_out(fault what) { return what == fault::double_free && own_allocator; }

// What a handler was called with.
struct cause {
    int signal = 0;
    int code = 0;
    bool operator==(cause const&) const = default;
};
std::ostream& operator<<(std::ostream& to, cause const& what) { return to << what.signal << ", code " << what.code; }

[[noreturn]] void tell(int signal, siginfo_t* info, void*) {
#if defined(__x86_64__)
    // The kernel leaves the flag of alignment checks as it was.
    __asm__ volatile("pushfq\n\tandl $~0x40000, (%%rsp)\n\tpopfq" : : : "cc", "memory");
#endif
    cause const seen{signal, info->si_code};
    ::_exit(::write(STDOUT_FILENO, &seen, sizeof seen) == sizeof seen ? 0 : 1);
}

// What a handler on a stack of its own is told about a fault.
cause told(fault what) {
    auto victim = child::run([what] {
        static char room[65536];
        stack_t stack{};
        stack.ss_sp = room;
        stack.ss_size = sizeof room;
        ::sigaltstack(&stack, nullptr);
        struct sigaction action {};
        action.sa_sigaction = tell;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        ::sigaction(testing::expected_signal(what), &action, nullptr);
        testing::raise_fault(what);
    });
    auto const& end = victim.wait();
    cause seen;
    if (end.exited(0) && end.out.size() == sizeof seen) std::memcpy(&seen, end.out.data(), sizeof seen);
    return seen;
}

}  // namespace

TEST_CASE("every fault ends a process without handlers in the signal that is expected of it", "[testing]") {
    for (fault const what : testing::all_faults) {
        if (left_out(what)) continue;
        auto victim = child::run([what] { testing::raise_fault(what); });
        auto const& end = victim.wait();
        INFO(testing::name(what) << ": " << end.describe());
        CHECK(end.killed_by(testing::expected_signal(what)));
    }
}

TEST_CASE("every fault is reported in the function that has its name", "[testing]") {
    for (fault const what : testing::all_faults) {
        if (left_out(what)) continue;
        auto victim = child::run([what] {
            guard signals{on_crash(dump_threads)};
            testing::raise_fault(what);
        });
        auto const& end = victim.wait();
        INFO(testing::name(what) << ": " << end.describe());
        CHECK(end.killed_by(testing::expected_signal(what)));
        auto const first = test::thread_with(end.err, "where it happened");
        CHECK(first.names(" tocsin::testing::faults::" + std::string{testing::name(what)} + "("));
        // the end of an overflowed stack is far away
        CHECK((first.names("raise_fault(tocsin::testing::fault)") || what == fault::stack_overflow));
    }
}

TEST_CASE("a handler is told the cause as the kernel tells it, and nothing is only sent", "[testing]") {
    CHECK(told(fault::read_null) == cause{SIGSEGV, SEGV_MAPERR});
    CHECK(told(fault::read_protected) == cause{SIGSEGV, SEGV_ACCERR});
    CHECK(told(fault::write_constant) == cause{SIGSEGV, SEGV_ACCERR});
    CHECK(told(fault::execute_heap) == cause{SIGSEGV, SEGV_ACCERR});
    CHECK(told(fault::past_end_of_file) == cause{SIGBUS, BUS_ADRERR});
    CHECK(told(fault::illegal_instruction) == cause{SIGILL, ILL_ILLOPN});
    CHECK(told(fault::bad_system_call) == cause{SIGSYS, 1});  // SYS_SECCOMP, which glibc has no name for
    CHECK(told(fault::abort) == cause{SIGABRT, SI_TKILL});
    // ThreadSanitizer maps what nobody uses without permissions, and gets into a handler before its first line.
    if (!own_allocator) {
        CHECK(told(fault::execute_wild) == cause{SIGSEGV, SEGV_MAPERR});
        CHECK(told(fault::misaligned) == cause{SIGBUS, BUS_ADRALN});
    }
#if defined(__x86_64__)
    CHECK(told(fault::read_non_canonical) == cause{SIGSEGV, SI_KERNEL});
    CHECK(told(fault::privileged_instruction) == cause{SIGSEGV, SI_KERNEL});
    CHECK(told(fault::divide_by_zero) == cause{SIGFPE, FPE_INTDIV});
    CHECK(told(fault::divide_float) == cause{SIGFPE, FPE_FLTDIV});
    CHECK(told(fault::breakpoint) == cause{SIGTRAP, SI_KERNEL});
#else
    CHECK(told(fault::breakpoint) == cause{SIGTRAP, TRAP_BRKPT});
#endif
}

TEST_CASE("a stack that does not end is left after 100 MiB, and said so", "[testing]") {
    auto survivor = child::run([] {
        std::size_t const bytes = std::size_t{160} << 20;
        pthread_attr_t attributes;
        ::pthread_attr_init(&attributes);
        test::require_in_child(::pthread_attr_setstacksize(&attributes, bytes) == 0);
        pthread_t thread;
        static int came_back = 0;
        auto const run = [](void*) -> void* {
            return testing::raise_fault(fault::stack_overflow) ? nullptr : &came_back;
        };
        test::require_in_child(::pthread_create(&thread, &attributes, run, nullptr) == 0);
        void* refused = nullptr;
        ::pthread_join(thread, &refused);
        return refused == &came_back ? 0 : 1;
    });
    auto const& end = survivor.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}

TEST_CASE("a handler that goes on behind a breakpoint comes back as false", "[testing]") {
    auto survivor = child::run([] {
        ::signal(SIGTRAP, [](int) {});
#if defined(__aarch64__)
        return 0;  // there the handler returns to the instruction itself
#else
        return testing::raise_fault(fault::breakpoint) ? 1 : 0;
#endif
    });
    CHECK(survivor.wait().exited(0));
}

TEST_CASE("every fault has a name and a signal of its own kind, at compile time too", "[testing]") {
    static_assert(testing::expected_signal(fault::past_end_of_file) == SIGBUS);
    static_assert(testing::name(fault::read_null)[0] == 'r');
    std::set<std::string> names;
    std::set<int> numbers;
    for (fault const what : testing::all_faults) {
        names.insert(testing::name(what));
        numbers.insert(testing::expected_signal(what));
    }
    CHECK(names.size() == std::size(testing::all_faults));
    CHECK(names.count("") == 0);
#if defined(__x86_64__)
    CHECK(numbers == std::set<int>{SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT});
#endif
}

TEST_CASE("no_core lowers the soft limit to what no core fits in, and puts back what it found", "[testing]") {
    auto survivor = child::run([] {
        rlimit wanted = core_limit();
        wanted.rlim_cur = wanted.rlim_max < 123456 ? wanted.rlim_max : 123456;
        test::require_in_child(::setrlimit(RLIMIT_CORE, &wanted) == 0);
        {
            testing::no_core here;
            test::require_in_child(core_limit().rlim_cur <= 1);
            test::require_in_child(core_limit().rlim_max == wanted.rlim_max);
            testing::no_core nested;
            test::require_in_child(core_limit().rlim_cur <= 1);
        }
        test::require_in_child(core_limit().rlim_cur == wanted.rlim_cur);
    });
    auto const& end = survivor.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}

TEST_CASE("a child that crashes under no_core leaves no core", "[testing]") {
    test::scratch_directory place;
    auto family = child::run([&place] {
        rlimit wanted = core_limit();
        wanted.rlim_cur = wanted.rlim_max;
        ::setrlimit(RLIMIT_CORE, &wanted);
        test::require_in_child(::chdir(place.path().c_str()) == 0);
        testing::no_core here;
        pid_t const pid = ::fork();
        if (pid == 0) testing::raise_fault(fault::illegal_instruction);
        int status = 0;
        test::require_in_child(::waitpid(pid, &status, 0) == pid);
        return WIFSIGNALED(status) && WTERMSIG(status) == SIGILL && !WCOREDUMP(status) ? 0 : 1;
    });
    auto const& end = family.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    CHECK(test::names_in(place.path()).empty());
}
