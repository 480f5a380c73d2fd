// SPDX-License-Identifier: MIT
#include <tocsin/in_signal/recover.hpp>

#include <string.h>
#include <sys/mman.h>

#include <thread>

#include "support/signals.hpp"

using namespace tocsin::in_signal;
using namespace tocsin::test;

namespace {

constinit recovery attempts{};
int volatile zero = 0;
int volatile result = 0;
int* volatile nowhere = nullptr;

// What the program's report does: a nested handler that ends the step, and has a frame of its own to lose.
void end_step(int, siginfo_t*, void* context) {
    char volatile used[256];
    for (char volatile& each : used) each = 7;
    if (!step_back(attempts, *static_cast<ucontext_t*>(context))) ::_exit(90);
}

void end_steps_on(std::initializer_list<int> signals, int flags = 0) {
    for (int const signal : signals) {
        struct sigaction action = make_action(end_step, flags | SA_NODEFER);
        ::sigaction(signal, &action, nullptr);
    }
}

void use_alternate_stack() {
    std::size_t const size = 65536;
    void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t stack{};
    stack.ss_sp = memory;
    stack.ss_size = size;
    require_in_child(::sigaltstack(&stack, nullptr) == 0);
}

[[gnu::noinline]] int fault_below(int depth) noexcept {
    int volatile here[16]{};
    here[depth % 16] = depth;
    if (depth == 0) *nowhere = 1;
    return depth == 0 ? here[0] : fault_below(depth - 1) + here[depth % 16];
}

kernel_set mask_now() {
    kernel_set mask = 0;
    change_mask(SIG_BLOCK, nullptr, &mask);
    return mask;
}

// Ruins every register that a function must keep for its caller, and does not put them back: it faults first.
[[gnu::noinline]] void ruin_registers_and_fault() noexcept {
#if defined(__x86_64__)
    __asm__ volatile(
        "xorl %%ebx, %%ebx\n\txorl %%r12d, %%r12d\n\txorl %%r13d, %%r13d\n\txorl %%r14d, %%r14d\n\t"
        "xorl %%r15d, %%r15d\n\tstd\n\txorl %%eax, %%eax\n\txorl %%ebp, %%ebp\n\tmovl %%eax, (%%rax)"
        :
        :
        : "rax", "rbx", "r12", "r13", "r14", "r15", "cc", "memory");
#else
    __asm__ volatile(
        "mov x19, xzr\n\tmov x20, xzr\n\tmov x21, xzr\n\tmov x22, xzr\n\tmov x23, xzr\n\tmov x24, xzr\n\t"
        "mov x25, xzr\n\tmov x26, xzr\n\tmov x27, xzr\n\tmov x28, xzr\n\tfmov d8, xzr\n\tfmov d9, xzr\n\t"
        "fmov d10, xzr\n\tfmov d11, xzr\n\tfmov d12, xzr\n\tfmov d13, xzr\n\tfmov d14, xzr\n\tfmov d15, xzr\n\t"
        "mov x29, xzr\n\tstr xzr, [x19]"
        :
        :
        : "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "d8", "d9", "d10", "d11", "d12",
          "d13", "d14", "d15", "memory");
#endif
}

[[gnu::noinline]] double keep_many(long a, long b, long c, double x, double y, double z, bool fault) {
    long const d = a * b, e = b * c, f = a ^ c, g = a + 7 * b, h = b - 9 * c, i = c * 11, j = a * 13;
    double const p = x * y, q = y * z, r = x + z, s = y - x, t = z * 3, u = x * 5, v = y * 7, w = z * 9;
    bool const whole = attempt(attempts, [fault]() noexcept {
        if (fault) ruin_registers_and_fault();
    });
    require_in_child(whole == !fault);
#if defined(__x86_64__)
    require_in_child((__builtin_ia32_readeflags_u64() & 0x400) == 0);  // the direction flag
#endif
    long const whole_numbers = d + 3 * e + 5 * f + 7 * g + 11 * h + 13 * i + 17 * j + a + b + c;
    return p + 2 * q + 3 * r + 4 * s + 5 * t + 6 * u + 7 * v + 8 * w + static_cast<double>(whole_numbers);
}

}  // namespace

TEST_CASE("a step that nothing happens to comes to its end", "[recover]") {
    recovery own{};
    int steps = 0;
    CHECK(attempts_under_way(own) == 0);
    CHECK(attempt(own, [&]() noexcept { steps += attempts_under_way(own) == 1 ? 1 : 100; }));
    CHECK(steps == 1);
    CHECK(attempts_under_way(own) == 0);
}

TEST_CASE("a step that faults costs that step, on the alternate stack and off it, time and again", "[recover]") {
    int const flags = GENERATE(0, SA_ONSTACK);
    in_child([flags] {
        if (flags != 0) use_alternate_stack();
        end_steps_on({SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGABRT}, flags);
        for (int i = 0; i < 100; ++i) {
            require_in_child(!attempt(attempts, []() noexcept { result = fault_below(20); }));
            require_in_child(!attempt(attempts, []() noexcept { __builtin_trap(); }));
            require_in_child(!attempt(attempts, []() noexcept { ::raise(SIGABRT); }));
#if defined(__x86_64__)
            require_in_child(!attempt(attempts, []() noexcept { result = 7 / zero; }));
#endif
            require_in_child(!attempt(attempts, []() noexcept {
                void (*volatile none)() = nullptr;
                none();
            }));
            require_in_child(attempts_under_way(attempts) == 0);
        }
        require_in_child(attempt(attempts, []() noexcept { result = 1; }));
    });
}

TEST_CASE("a handler's own step faults on the same alternate stack, and the handler goes on", "[recover]") {
    in_child([] {
        use_alternate_stack();
        struct sigaction const outer = make_action(
            +[](int, siginfo_t*, void*) {
                end_steps_on({SIGSEGV}, SA_ONSTACK);
                int volatile kept = 5;
                bool const whole = attempt(attempts, []() noexcept { result = fault_below(10); });
                stack_t now{};
                ::sigaltstack(nullptr, &now);
                bool const more = attempt(attempts, []() noexcept { result = 3; });
                ::_exit(!whole && more && kept == 5 && (now.ss_flags & SS_ONSTACK) != 0 ? 0 : 91);
            },
            SA_ONSTACK | SA_NODEFER);
        ::sigaction(SIGSEGV, &outer, nullptr);
        *nowhere = 2;
        ::_exit(92);
    });
}

TEST_CASE("a handler whose step has faulted returns to what it interrupted", "[recover]") {
    in_child([] {
        use_alternate_stack();
        end_steps_on({SIGSEGV}, SA_ONSTACK);
        struct sigaction const outer = make_action(
            +[](int, siginfo_t*, void*) {
                if (!attempt(attempts, []() noexcept { result = fault_below(10); })) result = 44;
            },
            SA_ONSTACK);
        ::sigaction(SIGUSR1, &outer, nullptr);
        for (int i = 0; i < 100; ++i) {
            result = 0;
            ::raise(SIGUSR1);
            require_in_child(result == 44);
            stack_t now{};
            ::sigaltstack(nullptr, &now);
            require_in_child((now.ss_flags & (SS_ONSTACK | SS_DISABLE)) == 0);
            require_in_child((mask_now() & bit_of(SIGUSR1)) == 0);
        }
    });
}

TEST_CASE("what callers keep in registers is intact behind a step back", "[recover]") {
    in_child([] {
        end_steps_on({SIGSEGV});
        for (int i = 0; i < 100; ++i) {
            double const calm = keep_many(i, 3, i + 5, 1.5, i, 2.5, false);
            double const faulted = keep_many(i, 3, i + 5, 1.5, i, 2.5, true);
            require_in_child(::memcmp(&calm, &faulted, sizeof calm) == 0);
        }
    });
}

TEST_CASE("of nested attempts the innermost ends, and the outer one counts again", "[recover]") {
    in_child([] {
        end_steps_on({SIGSEGV});
        int reached = 0;
        bool const outer = attempt(attempts, [&]() noexcept {
            require_in_child(!attempt(attempts, []() noexcept { result = fault_below(3); }));
            reached = 1;
            require_in_child(attempt(attempts, [&]() noexcept { reached = 2; }));
            result = fault_below(5);
            reached = 3;
        });
        require_in_child(!outer && reached == 2 && attempts_under_way(attempts) == 0);
    });
}

TEST_CASE("an outer attempt ends with all attempts within it", "[recover]") {
    in_child([] {
        struct sigaction const to_level = make_action(+[](int, siginfo_t* info, void* context) {
            auto const level = static_cast<unsigned>(info->si_value.sival_int);
            bool const known = step_back(attempts, *static_cast<ucontext_t*>(context), level);
            if (known != (level >= 1 && level <= 3)) ::_exit(93);
        });
        ::sigaction(SIGUSR1, &to_level, nullptr);
        for (unsigned level = 0; level <= 5; ++level) {
            unsigned ended = 0;
            bool const first = attempt(attempts, [&]() noexcept {
                bool const second = attempt(attempts, [&]() noexcept {
                    bool const third = attempt(attempts, [&]() noexcept {
                        require_in_child(attempts_under_way(attempts) == 3);
                        queue_value(::getpid(), SIGUSR1, static_cast<int>(level));
                    });
                    if (!third) ended = 3;
                    require_in_child(attempts_under_way(attempts) == 2);
                });
                if (!second) ended = 2;
                require_in_child(attempts_under_way(attempts) == 1);
            });
            if (!first) ended = 1;
            require_in_child(ended == (level <= 3 ? level : 0) && attempts_under_way(attempts) == 0);
        }
    });
}

TEST_CASE("without an attempt under way there is no step back, and the context is as it was", "[recover]") {
    ucontext_t context{};
    ucontext_t const before = context;
    recovery own{};
    CHECK_FALSE(step_back(own, context));
    CHECK(attempt(own, []() noexcept {}));
    CHECK_FALSE(step_back(own, context));
    CHECK(::memcmp(&context, &before, sizeof context) == 0);
}

TEST_CASE("another thread cannot step back", "[recover]") {
    recovery own{};
    bool elsewhere = true;
    CHECK(attempt(own, [&]() noexcept {
        std::thread{[&] {
            ucontext_t context{};
            elsewhere = attempts_under_way(own) != 0 || step_back(own, context);
        }}.join();
    }));
    CHECK_FALSE(elsewhere);
}

TEST_CASE("the mask behind a step back is the one that was kept, or else the interrupted one", "[recover]") {
    in_child([] {
        end_steps_on({SIGSEGV});
        auto const step = []() noexcept {
            block_signal(SIGUSR2);
            result = fault_below(2);
        };
        require_in_child(!attempt(attempts, step));
        require_in_child(mask_now() == bit_of(SIGUSR2));
        block_signal(SIGUSR2, SIG_UNBLOCK);
        block_signal(SIGUSR1);
        keep_mask(attempts);
        require_in_child(!attempt(attempts, step));
        require_in_child(mask_now() == bit_of(SIGUSR1));
    });
}

TEST_CASE("a fault in a handler that interrupts the step ends both", "[recover]") {
    in_child([] {
        use_alternate_stack();
        end_steps_on({SIGSEGV}, SA_ONSTACK);
        struct sigaction const between =
            make_action(+[](int, siginfo_t*, void*) { result = fault_below(4); }, SA_ONSTACK);
        ::sigaction(SIGUSR1, &between, nullptr);
        keep_mask(attempts);
        for (int i = 0; i < 100; ++i) {
            require_in_child(!attempt(attempts, []() noexcept { ::raise(SIGUSR1); }));
            require_in_child(mask_now() == 0);
            stack_t now{};
            ::sigaltstack(nullptr, &now);
            require_in_child((now.ss_flags & (SS_ONSTACK | SS_DISABLE)) == 0);
        }
    });
}

TEST_CASE("a step that hangs is ended by a signal to its thread", "[recover]") {
    in_child([] {
        end_steps_on({SIGUSR1});
        pid_t const thread = ::gettid();
        bool volatile running = false;
        std::thread helper{[&] {
            until([&] { return running; });
            tocsin::in_signal::tgkill(::getpid(), thread, SIGUSR1);
        }};
        require_in_child(!attempt(attempts, [&]() noexcept {
            running = true;
            while (running) relax();
        }));
        helper.join();
    });
}
