// SPDX-License-Identifier: MIT
#include <tocsin/in_signal/unwind.hpp>

#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unwind.h>

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "support/catch.hpp"

using namespace tocsin::in_signal;

// Functions whose frames the tests look for have a section each, so that their bounds have names.
#define IN_SECTION(name) __attribute__((noinline, used, section(#name)))
extern "C" char const __start_tocsin_leaf[], __stop_tocsin_leaf[];
extern "C" char const __start_tocsin_caller[], __stop_tocsin_caller[];

namespace {

struct record {
    walk end;
    frame frames[64];

    void take(registers const& from) {
        careful_reader memory;
        end = unwind(from, frames, 64, memory);
    }
    // Index of the first frame inside a section at or after `from`; -1 if there is none.
    int find(char const* begin, char const* stop, std::size_t from = 0) const {
        for (std::size_t i = from; i < end.frames; ++i) {
            auto const* at = reinterpret_cast<char const*>(frames[i].pc - (frames[i].exact ? 0 : 1));
            if (begin <= at && at < stop) return static_cast<int>(i);
        }
        return -1;
    }
    int leaf() const { return find(__start_tocsin_leaf, __stop_tocsin_leaf); }
    int caller() const { return find(__start_tocsin_caller, __stop_tocsin_caller); }
};

// Memory that a forked child shares with the test.
record& shared() {
    static auto* const memory = static_cast<record*>(
        mmap(nullptr, sizeof(record), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    return *memory;
}

_Unwind_Reason_Code add_address(_Unwind_Context* context, void* to) {
    static_cast<std::vector<std::uintptr_t>*>(to)->push_back(_Unwind_GetIP(context));
    return _URC_NO_REASON;
}

// The same stack as libgcc sees it, starting with the function that this becomes part of.
__attribute__((always_inline)) inline std::vector<std::uintptr_t> reference() {
    std::vector<std::uintptr_t> addresses;
    _Unwind_Backtrace(add_address, &addresses);
    if (!addresses.empty() && addresses.back() == 0) addresses.pop_back();  // what libgcc puts at the end
    return addresses;
}

// Everything from the second frame on has to be the same: the first differs by where in the function it is.
void require_same_callers(record const& ours, std::vector<std::uintptr_t> const& theirs, std::size_t skip) {
    REQUIRE(ours.end.ended == ending::end_of_stack);
    REQUIRE(ours.end.frames + skip == theirs.size());
    for (std::size_t i = 1; i < ours.end.frames; ++i) {
        INFO("frame " << i);
        CHECK(ours.frames[i].pc == theirs[i + skip]);
    }
}

record ours;
std::vector<std::uintptr_t> theirs;
record from_two_words;
ucontext_t interrupted;

__attribute__((noinline)) void look_here() {
    ours.take(here());
    theirs = reference();
}

// Volatile, so that no call is made in tail position or known at compile time.
int volatile after;

IN_SECTION(tocsin_caller) void call(void (*function)()) {
    function();
    after = 1;
}

IN_SECTION(tocsin_caller) void recurse(int depth, void (*function)()) {
    if (depth == 0)
        function();
    else
        recurse(depth - 1, function);
    after = depth;
}

// Without one, as GCC links static programs, each look-up scans all entries.
bool has_sorted_table() { return module_of(reinterpret_cast<std::uintptr_t>(look_here)).eh_frame_hdr != 0; }

void handle(int signal, void (*handler)(int, siginfo_t*, void*), int flags = 0) {
    struct sigaction action {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | flags;
    sigaction(signal, &action, nullptr);
}

void use_alternate_stack() {
    alignas(16) static char memory[65536];
    stack_t stack{};
    stack.ss_size = sizeof(memory);
    stack.ss_sp = memory;
    sigaltstack(&stack, nullptr);
}

void leave_with_frames(int, siginfo_t*, void* context) {
    shared().take(registers_of(*static_cast<ucontext_t*>(context)));
    _exit(7);
}

// Runs `fault` in a child whose handler stores the frames and leaves. The status tells that it came to that.
template <class Function>
record const& fault_in_child(Function fault) {
    shared() = record{};
    pid_t const child = fork();
    if (child == 0) {
        use_alternate_stack();
        for (int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE}) handle(signal, leave_with_frames, SA_ONSTACK);
        fault();
        _exit(1);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    REQUIRE(WEXITSTATUS(status) == 7);
    return shared();
}

IN_SECTION(tocsin_leaf) __attribute__((no_sanitize("undefined"))) void read_null() {
    after = *reinterpret_cast<int volatile*>(std::uintptr_t(after) & 8);
}

}  // namespace

TEST_CASE("own frames are the same as libgcc's", "[unwind]") {
    call(look_here);
    require_same_callers(ours, theirs, 0);
    CHECK(ours.frames[0].exact);
    CHECK_FALSE(ours.frames[1].exact);
    CHECK(ours.caller() == 1);
    CHECK_FALSE(ours.end.guessed);
}

namespace {
std::jmp_buf back_to_test;

[[noreturn]] __attribute__((noinline)) void look_and_never_return() {
    look_here();
    std::longjmp(back_to_test, 1);
}

// Its last instruction is the call: the return address belongs to whatever follows.
IN_SECTION(tocsin_leaf) void end_in_call() { look_and_never_return(); }
}  // namespace

TEST_CASE("a caller that is not returned to is still the caller", "[unwind]") {
    if (setjmp(back_to_test) == 0) call(end_in_call);
    require_same_callers(ours, theirs, 0);
    CHECK(ours.leaf() > 0);
}

namespace {
template <int N>
__attribute__((noinline)) void aligned_and_variable(int bytes, void (*function)()) {
    alignas(256) char volatile big[256];
    auto* grown = static_cast<char volatile*>(__builtin_alloca(static_cast<std::size_t>(bytes)));
    big[0] = N;
    grown[0] = N;
    call(function);
    after = grown[0] + big[0];
}

int compare(void const*, void const*) {
    look_here();
    after = 1;
    return 1;
}
}  // namespace

TEST_CASE("frames of realigned and growing stacks are crossed", "[unwind]") {
    aligned_and_variable<1>(100 + after % 7, look_here);
    require_same_callers(ours, theirs, 0);
}

TEST_CASE("frames of libc are crossed", "[unwind]") {
    int numbers[2] = {2, 1};
    std::qsort(numbers, 2, sizeof(int), compare);
    require_same_callers(ours, theirs, 0);
}

namespace {
void see_interrupted(int, siginfo_t*, void* context) {
    interrupted = *static_cast<ucontext_t*>(context);
    ours.take(registers_of(interrupted));
    from_two_words.take(registers_at(program_counter(interrupted), stack_pointer(interrupted)));
    theirs = reference();
}
void send_usr1() {
    raise(SIGUSR1);
    after = 2;
}
}  // namespace

TEST_CASE("a handler's context gives the interrupted frames, without the handler's", "[unwind]") {
    handle(SIGUSR1, see_interrupted);
    call(send_usr1);
    REQUIRE(theirs.size() > ours.end.frames);
    std::size_t const skip = theirs.size() - ours.end.frames;
    require_same_callers(ours, theirs, skip);
    CHECK(ours.frames[0].pc == theirs[skip]);
    CHECK(ours.frames[0].exact);
    CHECK(ours.caller() > 0);

    INFO("from pc and sp alone, as /proc tells them of threads that wait");
    REQUIRE(from_two_words.end.frames == ours.end.frames);
    for (std::size_t i = 0; i < ours.end.frames; ++i) CHECK(from_two_words.frames[i].pc == ours.frames[i].pc);
}

namespace {
void see_from_handler(int, siginfo_t*, void* context) {
    interrupted = *static_cast<ucontext_t*>(context);
    look_here();
    after = 3;
}
void nest_usr2(int, siginfo_t*, void*) {
    raise(SIGUSR2);
    after = 4;
}
}  // namespace

TEST_CASE("signal frames are crossed", "[unwind]") {
    int const flags = GENERATE(0, SA_ONSTACK);
    stack_t old{};
    sigaltstack(nullptr, &old);
    use_alternate_stack();
    handle(SIGUSR2, see_from_handler, flags);
    SECTION("one") {
        call([] {
            raise(SIGUSR2);
            after = 5;
        });
    }
    SECTION("two, one handler inside the other") {
        handle(SIGUSR1, nest_usr2, flags);
        call(send_usr1);
        std::size_t exact = 0;
        for (std::size_t i = 0; i < ours.end.frames; ++i) exact += ours.frames[i].exact ? 1 : 0;
        CHECK(exact == 3);
    }
    sigaltstack(&old, nullptr);
    require_same_callers(ours, theirs, 0);
    bool found = false;
    for (std::size_t i = 0; i < ours.end.frames; ++i)
        found = found || (ours.frames[i].exact && ours.frames[i].pc == program_counter(interrupted));
    CHECK(found);
    CHECK(ours.caller() > 0);
}

TEST_CASE("a fault shows the instruction and its callers", "[unwind]") {
    record const& seen = fault_in_child([] { call(read_null); });
    CHECK(seen.leaf() == 0);
    CHECK(seen.caller() == 1);
    CHECK(seen.end.ended == ending::end_of_stack);
}

namespace {
void* unreadable() { return mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }

char data_not_code[64] = "not code";
void* somewhere(int kind) {
    switch (kind) {
        case 0:
            return nullptr;
        case 1:
            return static_cast<char*>(unreadable()) + 0x234;
        case 2: {
            static auto const memory = std::make_unique<char[]>(64);
            return memory.get();
        }
        case 3:
            return data_not_code;
        default: {
            void* const page = unreadable();
            munmap(page, 4096);
            return page;
        }
    }
}
}  // namespace

TEST_CASE("a call through a bad pointer shows who called", "[unwind]") {
    int const kind = GENERATE(0, 1, 2, 3, 4);
    INFO("kind " << kind);
    void* const target = somewhere(kind);
    record const& seen = fault_in_child([target] { call(reinterpret_cast<void (*)()>(target)); });
    CHECK(seen.frames[0].pc == reinterpret_cast<std::uintptr_t>(target));
    CHECK(seen.frames[0].exact);
    CHECK(seen.caller() == 1);
    CHECK(seen.end.ended == ending::end_of_stack);
    CHECK(seen.end.frames > 5);
}

TEST_CASE("frames beyond the limit are counted", "[unwind]") {
    static std::size_t total;
    static std::vector<std::uintptr_t> all;
    SECTION("to the end of the stack") {
        call([] {
            recurse(10'000, [] {
                look_here();
                all = reference();
                total = all.size();
            });
        });
        CHECK(ours.end.ended == ending::end_of_stack);
        CHECK(ours.end.frames == 64);
        CHECK(ours.end.frames + ours.end.omitted - 1 == total);  // without look_here
        CHECK(ours.end.inner == 48);
        // the outermost frames, in order: what the C library's own unwinder saw last
        for (std::size_t i = ours.end.inner; i < ours.end.frames; ++i)
            CHECK(ours.frames[i].pc == all[total - (ours.end.frames - i)]);
    }
    SECTION("to a bound, if there are too many") {
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, std::size_t{96} << 20);
        pthread_t thread;
        auto const body = [](void*) -> void* {
            recurse(300'000, [] { ours.take(here()); });
            return nullptr;
        };
        REQUIRE(pthread_create(&thread, &attributes, body, nullptr) == 0);
        pthread_join(thread, nullptr);
        CHECK(ours.end.ended == ending::limit);
        CHECK(ours.end.omitted == most_omitted);
    }
}

namespace {
struct parked {
    int gate[2];
    pid_t tid;
    int ready[2];
};

IN_SECTION(tocsin_leaf) void* wait_in_read(void* data) {
    auto* self = static_cast<parked*>(data);
    self->tid = ::gettid();
    char byte = 'r';
    after = static_cast<int>(::write(self->ready[1], &byte, 1));
    after = static_cast<int>(::read(self->gate[0], &byte, 1));
    return nullptr;
}

// pc and sp of a thread that waits in a system call; false while it does not.
bool waiting(pid_t tid, std::uintptr_t& pc, std::uintptr_t& sp) {
    char const* const path = "/proc/self/task/%d/syscall";
    char name[64];
    std::snprintf(name, sizeof(name), path, tid);
    std::FILE* const file = std::fopen(name, "r");
    REQUIRE(file != nullptr);
    long number = -1;
    unsigned long words[8]{};
    int const read = std::fscanf(file, "%ld %lx %lx %lx %lx %lx %lx %lx %lx", &number, words, words + 1,
                                 words + 2, words + 3, words + 4, words + 5, words + 6, words + 7);
    std::fclose(file);
    sp = words[6];
    pc = words[7];
    return read == 9 && number == SYS_read;
}
}  // namespace

TEST_CASE("a thread that waits is read from outside as it reads itself", "[unwind]") {
    parked place{};
    REQUIRE(pipe(place.gate) == 0);
    REQUIRE(pipe(place.ready) == 0);
    handle(SIGUSR1, see_interrupted, SA_RESTART);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, nullptr, wait_in_read, &place) == 0);
    char byte = 0;
    REQUIRE(::read(place.ready[0], &byte, 1) == 1);
    std::uintptr_t pc = 0;
    std::uintptr_t sp = 0;
    // An emulator's /proc tells of the emulator: there it never comes to be.
    bool seen = false;
    for (int tries = 0; tries < 10'000 && !seen; ++tries) {
        seen = waiting(place.tid, pc, sp);
        sched_yield();
    }
    record outside{};
    if (seen) outside.take(registers_at(pc, sp));

    ours = record{};
    pthread_kill(thread, SIGUSR1);
    REQUIRE(::write(place.gate[1], &byte, 1) == 1);
    pthread_join(thread, nullptr);
    for (int fd : {place.gate[0], place.gate[1], place.ready[0], place.ready[1]}) ::close(fd);

    if (!seen) return;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    if (outside.end.guessed) return;  // they wait in functions of their own, which need their frame pointer
#endif
    CHECK(outside.leaf() > 0);
    CHECK(outside.end.ended == ending::end_of_stack);
    REQUIRE(outside.end.frames == ours.end.frames);
    CHECK(outside.frames[0].pc - ours.frames[0].pc <= 4);  // the signal may have put the call off
    for (std::size_t i = 1; i < outside.end.frames; ++i) CHECK(outside.frames[i].pc == ours.frames[i].pc);
}

namespace {
#if defined(__x86_64__)
// push %rbp; mov %rsp, %rbp; call *%rdi; pop %rbp; ret
unsigned char const made_code[] = {0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3};
constexpr std::uintptr_t made_return = 6;
#else
// stp x29, x30, [sp, #-16]!; mov x29, sp; blr x0; ldp x29, x30, [sp], #16; ret
unsigned char const made_code[] = {0xfd, 0x7b, 0xbf, 0xa9, 0xfd, 0x03, 0x00, 0x91, 0x00, 0x00,
                                   0x3f, 0xd6, 0xfd, 0x7b, 0xc1, 0xa8, 0xc0, 0x03, 0x5f, 0xd6};
constexpr std::uintptr_t made_return = 12;
#endif
using made_type = void (*)(void (*)());
made_type made_function;

made_type made() {
    static void* const page = [] {
        void* const memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        std::memcpy(memory, made_code, sizeof(made_code));
        mprotect(memory, 4096, PROT_READ | PROT_EXEC);
        __builtin___clear_cache(static_cast<char*>(memory), static_cast<char*>(memory) + sizeof(made_code));
        return memory;
    }();
    return reinterpret_cast<made_type>(page);
}

IN_SECTION(tocsin_caller) void call_made() {
    made_function(look_here);
    after = 1;
}
}  // namespace

TEST_CASE("code made at run time is crossed by its frame pointer", "[unwind]") {
    made_function = made();
    call_made();
    CHECK(ours.frames[1].pc - reinterpret_cast<std::uintptr_t>(made_function) == made_return);
    CHECK(ours.caller() == 2);
    CHECK(ours.end.ended == ending::end_of_stack);
}

TEST_CASE("a chain of frame pointers that goes in circles ends the walk", "[unwind]") {
    std::uintptr_t stack[8]{};
    for (std::size_t i = 0; i < 8; i += 2) {
        stack[i] = reinterpret_cast<std::uintptr_t>(stack + (i + 2) % 8);
        stack[i + 1] = reinterpret_cast<std::uintptr_t>(made()) + made_return;
    }
    registers from = registers_at(16, reinterpret_cast<std::uintptr_t>(stack));
    from.set(machine::frame_register, reinterpret_cast<std::uintptr_t>(stack));
    record seen{};
    seen.take(from);
    CHECK(seen.end.frames == 5);
    CHECK(seen.end.ended == ending::lost);
}

TEST_CASE("a spoilt stack ends the walk", "[unwind]") {
    std::mt19937_64 random{GENERATE(1U, 2U, 3U)};
    std::vector<std::uintptr_t> stack(4096);
    auto const base = reinterpret_cast<std::uintptr_t>(stack.data());
    call(look_here);
    record const real = ours;
    int const rounds = has_sorted_table() ? 2000 : 50;
    for (int round = 0; round < rounds; ++round) {
        // Addresses of code and of this very stack are likelier to mislead than plain numbers.
        for (auto& word : stack) {
            std::uint64_t const dice = random();
            switch (dice & 3) {
                case 0:
                    word = base + random() % (stack.size() * sizeof(word));
                    break;
                case 1:
                    word = real.frames[dice / 4 % real.end.frames].pc + (dice >> 32) % 3 - 1;
                    break;
                case 2:
                    word = random() >> (dice >> 32) % 60;
                    break;
                default:
                    word = 0;
                    break;
            }
        }
        registers from = registers_at(real.frames[random() % real.end.frames].pc, base + 256);
        for (unsigned i = 0; i < 16; ++i)
            if (i != machine::stack_register) from.set(i, stack[random() % 512]);
        from.signal_frame = (random() & 1) != 0;
        record seen{};
        seen.take(from);
        REQUIRE(seen.end.frames >= 1);
        REQUIRE(seen.end.omitted < stack.size());
    }
}

// A function that finds its frame by the frame pointer alone.
#if defined(__x86_64__)
#define FRAME_RULES ".cfi_def_cfa 6, 16\n.cfi_offset 6, -16\n"
#else
#define FRAME_RULES ".cfi_def_cfa 29, 16\n.cfi_offset 29, -16\n.cfi_offset 30, -8\n"
#endif
__asm__(
    ".pushsection .text\n.globl tocsin_by_frame_pointer\n.type tocsin_by_frame_pointer, %function\n"
    "tocsin_by_frame_pointer:\n.cfi_startproc\n" FRAME_RULES
    "nop\nnop\nnop\nnop\nnop\nnop\n.cfi_endproc\n.size tocsin_by_frame_pointer, . - "
    "tocsin_by_frame_pointer\n.popsection\n");
extern "C" char const tocsin_by_frame_pointer[];

// A function that calls with any number in the frame pointer, and the one that called it, the outermost.
#if defined(__x86_64__)
#define CALL "call *%rax\n"
#define NO_CALLER ".cfi_undefined 16\n"
#define CALLER_ABOVE ".cfi_def_cfa 7, 32\n.cfi_offset 16, -8\n"
#else
#define CALL "blr x0\n"
#define NO_CALLER ".cfi_undefined 30\n"
#define CALLER_ABOVE ".cfi_def_cfa 31, 32\n.cfi_offset 30, -8\n"
#endif
__asm__(
    ".pushsection .text\n.globl tocsin_by_stack_pointer\n.type tocsin_by_stack_pointer, %function\n"
    "tocsin_by_stack_pointer:\n.cfi_startproc\n" CALLER_ABOVE CALL
    ".globl tocsin_by_stack_pointer_back\ntocsin_by_stack_pointer_back:\nnop\n.cfi_endproc\n"
    ".size tocsin_by_stack_pointer, . - tocsin_by_stack_pointer\n"
    ".globl tocsin_outermost\n.type tocsin_outermost, %function\n"
    "tocsin_outermost:\n.cfi_startproc\n" NO_CALLER CALL
    ".globl tocsin_outermost_back\ntocsin_outermost_back:\nnop\n.cfi_endproc\n"
    ".size tocsin_outermost, . - tocsin_outermost\n.popsection\n");
extern "C" char const tocsin_by_stack_pointer_back[];
extern "C" char const tocsin_outermost_back[];

TEST_CASE("a frame pointer is guessed where the caller has a number in its own, past what is stale", "[unwind]") {
    auto const number = GENERATE(std::uintptr_t{0}, std::uintptr_t{7}, ~std::uintptr_t{0} - 191);
    auto const back = reinterpret_cast<std::uintptr_t>(tocsin_by_stack_pointer_back);
    auto const outermost = reinterpret_cast<std::uintptr_t>(tocsin_outermost_back);
    std::uintptr_t stack[16]{};
    // stale: the caller's row leads from it to no call
    stack[2] = reinterpret_cast<std::uintptr_t>(stack + 6);
    stack[3] = back;
    stack[8] = number;
    stack[9] = back;
    stack[13] = outermost;
    record seen{};
    seen.take(registers_at(reinterpret_cast<std::uintptr_t>(tocsin_by_frame_pointer) + 4,
                           reinterpret_cast<std::uintptr_t>(stack)));
    CHECK(seen.end.guessed);
    CHECK(seen.end.ended == ending::end_of_stack);
    REQUIRE(seen.end.frames == 3);
    CHECK(seen.frames[1].pc == back);
    CHECK(seen.frames[2].pc == outermost);
}

TEST_CASE("a frame that is its own caller ends the walk", "[unwind]") {
    std::uintptr_t stack[4]{};
    stack[2] = reinterpret_cast<std::uintptr_t>(stack + 2);
    stack[3] = reinterpret_cast<std::uintptr_t>(tocsin_by_frame_pointer) + 4;
    registers from = registers_at(stack[3], reinterpret_cast<std::uintptr_t>(stack));
    from.set(machine::frame_register, stack[2]);
    record seen{};
    seen.take(from);
    CHECK(seen.end.ended == ending::cycle);
    CHECK(seen.end.frames == 2);
}

TEST_CASE("nothing is read from memory that is not there", "[unwind]") {
    call(look_here);
    auto const absent = reinterpret_cast<std::uintptr_t>(unreadable()) + 256;
    for (std::uintptr_t sp : {std::uintptr_t{0}, std::uintptr_t{8}, ~std::uintptr_t{0} - 7,
                              std::uintptr_t{0x8000'0000'0000'0000}, absent}) {
        for (std::uintptr_t pc : {ours.frames[1].pc, std::uintptr_t{0}, ~std::uintptr_t{0}, sp}) {
            record seen{};
            seen.take(registers_at(pc, sp));
            CHECK(seen.end.ended == ending::lost);
        }
    }
}

#if defined(__x86_64__)
namespace {
struct {
    bool volatile on;
    long steps;
    long looked;
    long whole;
    long stride;
    std::uintptr_t first_bad;
} stepped;

// The first SIGTRAP is raised; the following come after each instruction, as long as the trap flag is set.
void look_at_step(int, siginfo_t*, void* data) {
    auto& context = *static_cast<ucontext_t*>(data);
    constexpr greg_t trap_flag = 0x100;
    context.uc_mcontext.gregs[REG_EFL] &= ~trap_flag;
    if (!stepped.on) return;
    context.uc_mcontext.gregs[REG_EFL] |= trap_flag;
    if (stepped.steps++ % stepped.stride != 0) return;
    record seen;
    seen.take(registers_of(context));
    ++stepped.looked;
    if (seen.caller() >= 0 && seen.end.ended == ending::end_of_stack)
        ++stepped.whole;
    else if (stepped.first_bad == 0)
        stepped.first_bad = seen.frames[0].pc;
}

IN_SECTION(tocsin_caller) void step_through(void (*function)()) {
    stepped.on = true;
    raise(SIGTRAP);
    function();
    stepped.on = false;
    after = 1;
}
}  // namespace

TEST_CASE("after every single instruction the callers are found", "[unwind]") {
    stack_t old{};
    sigaltstack(nullptr, &old);
    use_alternate_stack();
    stepped.stride = has_sorted_table() ? 1 : 19;
    handle(SIGTRAP, look_at_step, SA_ONSTACK);
    // Lazy binding, procedure table, vdso, allocation, a realigned stack. Not a throw: in the last
    // instruction of _Unwind_RaiseException the stack is switched already, and its table does not say so.
    step_through([] {
        timespec now{};
        clock_gettime(CLOCK_MONOTONIC, &now);
        char text[64];
        std::snprintf(text, sizeof(text), "%ld %g", now.tv_nsec, 3.5);
        std::free(std::malloc(std::strlen(text)));
        aligned_and_variable<2>(40, [] { after = 4; });
    });
    sigaltstack(&old, nullptr);
    INFO("the first that failed: " << std::hex << stepped.first_bad);
    CHECK(stepped.steps > 1'000);
    CHECK(stepped.whole == stepped.looked);
}
#endif
