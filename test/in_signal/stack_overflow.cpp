// SPDX-License-Identifier: MIT
#include <tocsin/in_signal/stack_overflow.hpp>

#include <tocsin/thread_guard.hpp>

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "support/catch.hpp"
#include "support/child.hpp"

using namespace tocsin;
using test::child;
using test::require_in_child;

namespace {

constexpr std::size_t kibi = 1024;

// Says what the fault was taken for, and ends the process.
void judge(int, siginfo_t* info, void* context) {
    auto const& stood = *static_cast<ucontext_t*>(context);
    in_signal::table* const in = in_signal::the_table.load();
    auto const* const record = in != nullptr ? in_signal::record_of(*in, in_signal::gettid()) : nullptr;
    auto const fault = reinterpret_cast<std::uintptr_t>(info->si_addr);
    auto const found = in_signal::find_overflow(record, fault, in_signal::stack_pointer(stood));
    in_signal::fixed_line<128> line;
    if (found.happened)
        line.text("overflow of ").decimal(found.size() / kibi).text(" KiB");
    else
        line.text("no overflow");
    line.end();
    in_signal::write(STDOUT_FILENO, line.data(), line.size());
    ::_exit(found.happened && fault >= found.lowest ? 1 : 0);
}

void judge_faults() {
    struct sigaction action {};
    action.sa_sigaction = &judge;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    ::sigaction(SIGSEGV, &action, nullptr);
}

std::size_t overflow_stack(std::size_t depth);
std::size_t (*volatile overflow)(std::size_t) = overflow_stack;
__attribute__((noinline, no_sanitize("address", "undefined"))) std::size_t overflow_stack(std::size_t depth) {
    char volatile some[512];
    some[depth % sizeof some] = 1;
    std::size_t const below = overflow(depth + 1);
    return below + static_cast<std::size_t>(some[depth % sizeof some]);
}

// Writes at the far end of a frame that is larger than any guard.
__attribute__((noinline, no_sanitize("address", "undefined"))) std::size_t one_large_frame() {
    char volatile some[4096 * kibi];
    some[8] = 1;
    return static_cast<std::size_t>(some[8]);
}

__attribute__((noinline, no_sanitize("address", "undefined"))) void touch(std::uintptr_t address) {
    __asm__ volatile("" : "+r"(address));
    *reinterpret_cast<char volatile*>(address) = 1;
}

// With a record, or with nothing but an alternate stack.
enum class thread_kind { guarded, bare };

template <class F>
void with_stack(thread_kind kind, F f) {
    if (kind == thread_kind::guarded) {
        thread_guard const here;
        f();
    } else {
        posix::alternate_stack own;
        require_in_child(!own.open(0));
        f();
    }
}

struct thread_place {
    std::size_t size = 256 * kibi;
    std::size_t guard = 4 * kibi;
};

template <class F>
void on_thread(pthread_attr_t* attributes, F f) {
    pthread_t thread;
    auto const body = [](void* given) -> void* {
        (*static_cast<F*>(given))();
        return nullptr;
    };
    require_in_child(::pthread_create(&thread, attributes, body, &f) == 0);
    ::pthread_join(thread, nullptr);
}
template <class F>
void on_thread(thread_place place, F f) {
    pthread_attr_t attributes;
    ::pthread_attr_init(&attributes);
    require_in_child(::pthread_attr_setstacksize(&attributes, place.size) == 0);
    require_in_child(::pthread_attr_setguardsize(&attributes, place.guard) == 0);
    on_thread(&attributes, f);
}

// What a child that faults in `f` says of it.
template <class F>
std::string judged(F f) {
    auto process = child::run([&] {
        judge_faults();
        f();
        return 2;
    });
    auto const& end = process.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    return end.out;
}

char* map(std::size_t bytes, int protection) {
    void* const memory = ::mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require_in_child(memory != MAP_FAILED);
    return static_cast<char*>(memory);
}

// A stack of the program's own, with a page below it that is no memory.
char* own_stack(std::size_t bytes) {
    char* const lowest = map(bytes + 64 * kibi, PROT_NONE) + 64 * kibi;
    require_in_child(::mprotect(lowest, bytes, PROT_READ | PROT_WRITE) == 0);
    return lowest;
}

}  // namespace

// Sanitizers have guards, stacks and handlers of their own.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

TEST_CASE("the first thread overflows at its limit", "[stack_overflow]") {
    auto const kind = GENERATE(thread_kind::guarded, thread_kind::bare);
    CHECK(judged([&] {
        rlimit limit{};
        ::getrlimit(RLIMIT_STACK, &limit);
        limit.rlim_cur = 2048 * kibi;
        ::setrlimit(RLIMIT_STACK, &limit);
        with_stack(kind, [] { overflow(1); });
    }) == "overflow of 2048 KiB\n");
}

TEST_CASE("the first thread overflows against what lies below it", "[stack_overflow]") {
    auto const said = judged([] {
        // Nearer than the limit; the kernel keeps 256 pages free below a stack.
        auto const here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) & ~std::uintptr_t{4095};
        auto* const wanted = reinterpret_cast<void*>(here - 3072 * kibi);
        require_in_child(::mmap(wanted, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
                         wanted);
        with_stack(thread_kind::bare, [] { overflow(1); });
    });
    CHECK(said.rfind("overflow of ", 0) == 0);
    CHECK(said != "overflow of 8192 KiB\n");
    CHECK(said != "overflow of 0 KiB\n");
}

TEST_CASE("a worker overflows into its guard, and its size is known", "[stack_overflow]") {
    CHECK(judged([] {
        on_thread(thread_place{}, [] { with_stack(thread_kind::guarded, [] { overflow(1); }); });
    }) == "overflow of 256 KiB\n");
}

TEST_CASE("so does the smallest stack there is", "[stack_overflow]") {
    auto const size = static_cast<std::size_t>(::sysconf(_SC_THREAD_STACK_MIN));
    CHECK(judged([&] {
        on_thread(thread_place{size}, [] { with_stack(thread_kind::guarded, [] { overflow(1); }); });
    }) == "overflow of " + std::to_string(size / kibi) + " KiB\n");
}

TEST_CASE("a worker that has left no word overflows too", "[stack_overflow]") {
    auto const said = judged([] {
        on_thread(thread_place{}, [] { with_stack(thread_kind::bare, [] { overflow(1); }); });
    });
    CHECK(said.rfind("overflow of ", 0) == 0);
}

TEST_CASE("one frame may be larger than what is left of the stack", "[stack_overflow]") {
    auto const kind = GENERATE(thread_kind::guarded, thread_kind::bare);
    auto const said = judged([&] {
        on_thread(thread_place{256 * kibi, 8192 * kibi}, [&] { with_stack(kind, [] { one_large_frame(); }); });
    });
    CHECK(said.rfind("overflow of ", 0) == 0);
    if (kind == thread_kind::guarded) CHECK(said == "overflow of 256 KiB\n");
}

TEST_CASE("a stack that the program made overflows where its memory ends", "[stack_overflow]") {
    CHECK(judged([] {
        constexpr std::size_t size = 128 * kibi;
        pthread_attr_t attributes;
        ::pthread_attr_init(&attributes);
        ::pthread_attr_setstack(&attributes, own_stack(size), size);
        on_thread(&attributes, [] { with_stack(thread_kind::guarded, [] { overflow(1); }); });
    }) == "overflow of 128 KiB\n");
}

TEST_CASE("the stack of a coroutine overflows, on a thread that has another", "[stack_overflow]") {
    auto const said = judged([] {
        on_thread(thread_place{}, [] {
            with_stack(thread_kind::guarded, [] {
                constexpr std::size_t size = 64 * kibi;
                static ucontext_t back;
                static ucontext_t other;
                ::getcontext(&other);
                other.uc_stack.ss_sp = own_stack(size);
                other.uc_stack.ss_size = size;
                other.uc_link = &back;
                ::makecontext(&other, [] { overflow(1); }, 0);
                ::swapcontext(&back, &other);
            });
        });
    });
    CHECK(said.rfind("overflow of ", 0) == 0);
    CHECK(said != "overflow of 256 KiB\n");
}

TEST_CASE("other faults are none", "[stack_overflow]") {
    auto const kind = GENERATE(thread_kind::guarded, thread_kind::bare);
    bool const worker = GENERATE(true, false);
    auto const on = [&](auto f) {
        return judged([&] {
            auto const run = [&] { with_stack(kind, f); };
            if (worker)
                on_thread(thread_place{}, run);
            else
                run();
        });
    };
    CHECK(on([] { touch(0); }) == "no overflow\n");
    CHECK(on([] { touch(0x123456789000); }) == "no overflow\n");
    CHECK(on([] { touch(reinterpret_cast<std::uintptr_t>("constant")); }) == "no overflow\n");
    CHECK(on([] { touch(reinterpret_cast<std::uintptr_t>(map(4096, PROT_NONE))); }) == "no overflow\n");
}

TEST_CASE("a wild pointer into the guard from further up is none", "[stack_overflow]") {
    auto const kind = GENERATE(thread_kind::guarded, thread_kind::bare);
    CHECK(judged([&] {
        constexpr std::size_t size = 128 * kibi;
        static char* const lowest = own_stack(size);
        pthread_attr_t attributes;
        ::pthread_attr_init(&attributes);
        ::pthread_attr_setstack(&attributes, lowest, size);
        on_thread(&attributes, [&] {
            with_stack(kind, [] { touch(reinterpret_cast<std::uintptr_t>(lowest) - 64); });
        });
    }) == "no overflow\n");
}

TEST_CASE("a wild pointer over the upper end, into the guard of the next stack, is none", "[stack_overflow]") {
    auto const kind = GENERATE(thread_kind::guarded, thread_kind::bare);
    CHECK(judged([&] {
        constexpr std::size_t size = 128 * kibi;
        constexpr std::size_t gap = 64 * kibi;
        static char* const lowest = map(2 * (size + gap), PROT_NONE) + gap;
        require_in_child(::mprotect(lowest, size, PROT_READ | PROT_WRITE) == 0);
        require_in_child(::mprotect(lowest + size + gap, size, PROT_READ | PROT_WRITE) == 0);
        pthread_attr_t attributes;
        ::pthread_attr_init(&attributes);
        ::pthread_attr_setstack(&attributes, lowest, size);
        on_thread(&attributes, [&] {
            with_stack(kind, [] { touch(reinterpret_cast<std::uintptr_t>(lowest) + size + 64); });
        });
    }) == "no overflow\n");
}

TEST_CASE("a stack pointer that is wild itself is no overflow of the heap", "[stack_overflow]") {
    CHECK_FALSE(in_signal::find_overflow(nullptr, 0, 8).happened);
    CHECK_FALSE(in_signal::find_overflow(nullptr, 16, 16).happened);
    CHECK_FALSE(in_signal::find_overflow(nullptr, ~std::uintptr_t{0} - 8, ~std::uintptr_t{0}).happened);
    CHECK_FALSE(in_signal::find_overflow(nullptr, 0xdead'0000'0000'0000, 0xdead'0000'0000'0000).happened);
}

#endif
