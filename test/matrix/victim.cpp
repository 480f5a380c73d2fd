// SPDX-License-Identifier: MIT
// A program that crashes in the way that it is told to: victim SCENARIO [FILE]
//
// Two threads stand by, one that waits and one that runs, while main, or who it starts, crashes. `victim --faults`
// prints the faults of <tocsin/testing.hpp>, each with its signal. FILE is a library that the scenario loads, or a file
// of the program that must stay as it is.
#undef NDEBUG
#include <tocsin/dump.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/testing.hpp>
#include <tocsin/thread_guard.hpp>

#include <assert.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <exception>

using tocsin::testing::fault;
using tocsin::testing::raise_fault;

// Nothing here is inlined or left by a jump, because each name is looked for in the report.
namespace victim {

[[gnu::always_inline]] inline void stay() { __asm__ volatile(""); }
template <class T>
T* opaque(T* pointer) {
    __asm__ volatile("" : "+r"(pointer) : : "memory");
    return pointer;
}

int volatile standing_by = 0;
char const* file = "";

void require(bool ok, char const* what) {
    if (ok) return;
    ::dprintf(1, "not as the scenario needs it: %s\n", what);
    ::_exit(90);
}

void start(void* (*run)(void*), void* argument = nullptr, std::size_t stack = 0) {
    pthread_attr_t attributes;
    ::pthread_attr_init(&attributes);
    if (stack != 0) require(::pthread_attr_setstacksize(&attributes, stack) == 0, "pthread_attr_setstacksize");
    pthread_t thread;
    require(::pthread_create(&thread, &attributes, run, argument) == 0, "pthread_create");
}
void count_in() { __atomic_fetch_add(&standing_by, 1, __ATOMIC_SEQ_CST); }
void until_standing_by(int count) {
    while (__atomic_load_n(&standing_by, __ATOMIC_SEQ_CST) < count) ::sched_yield();
}

[[gnu::noinline]] void sleeps() {
    for (;;) ::pause();
}
[[gnu::noinline]] void* waits(void*) {
    count_in();
    sleeps();
    return nullptr;
}
[[gnu::noinline]] void runs_on() {
    for (;;) stay();
}
[[gnu::noinline]] void* runs(void*) {
    count_in();
    runs_on();
    return nullptr;
}

// --- Where it crashes --------------------------------------------------------------------------------------

[[gnu::noinline]] void write_null() {
    raise_fault(fault::write_null);
    stay();
}

[[gnu::noinline]] void assertion() {
    bool const happened = opaque<char const>(nullptr) != nullptr;
    assert(happened);
    stay();
}

[[gnu::noinline]] void throws() {
    int (*const give)(int) = [](int number) { return number; };
    if (opaque(give)(1) == 1) throw std::exception{};
}
[[gnu::noinline]] void terminate_in_catch() {
    try {
        throws();
    } catch (std::exception const&) {
        void (*const end)() = std::terminate;
        opaque(end)();
    }
    stay();
}

[[gnu::noinline]] void plain_handler(int) {
    write_null();
    stay();
}
[[gnu::noinline]] void in_another_handler() {
    struct sigaction action {};
    action.sa_handler = plain_handler;
    ::sigaction(SIGUSR1, &action, nullptr);
    ::raise(SIGUSR1);
    stay();
}

void reaction(tocsin::delivery const&) noexcept { write_null(); }
[[gnu::noinline]] void on_the_alternate_stack() {
    tocsin::guard more{tocsin::on<SIGUSR1>(tocsin::in_handler(reaction))};
    ::raise(SIGUSR1);
    stay();
}

void overflowing_reaction(tocsin::delivery const&) noexcept { raise_fault(fault::stack_overflow); }
[[gnu::noinline]] void overflow_of_the_alternate_stack() {
    tocsin::guard more{tocsin::on<SIGUSR1>(tocsin::in_handler(overflowing_reaction))};
    ::raise(SIGUSR1);
    stay();
}

void expect_death(pid_t child, int signal) {
    int status = 0;
    require(child > 0 && ::waitpid(child, &status, 0) == child, "waitpid");
    if (WIFSIGNALED(status) && WTERMSIG(status) == signal)
        ::dprintf(1, "the child died of %d\n", signal);
    else
        ::dprintf(1, "the child ended with status %#x\n", static_cast<unsigned>(status));
}
[[gnu::noinline]] void forked_child() {
    pid_t const child = ::fork();
    if (child == 0) write_null();
    expect_death(child, SIGSEGV);
    ::_exit(0);
}
// The child runs in this process's memory.
[[gnu::noinline]] pid_t crash_in_vfork() {
    pid_t const child = ::vfork();
    if (child == 0) write_null();
    return child;
}
[[gnu::noinline]] void vforked_child() {
    expect_death(crash_in_vfork(), SIGSEGV);
    ::_exit(0);
}
[[gnu::noinline]] void after_a_vforked_child() {
    expect_death(crash_in_vfork(), SIGSEGV);
    raise_fault(fault::illegal_instruction);
    stay();
}

// A free chunk whose links lead to `where`: taking it out of its list, with the arena locked, reads there.
void spoil_heap(void* where) {
    auto** const links = opaque(static_cast<void**>(::malloc(2000)));
    void* const separator = opaque(::malloc(2000));
    ::free(opaque(static_cast<void*>(links)));
    links[0] = links[1] = opaque(where);
    static_cast<void>(separator);
}
[[gnu::noinline]] void heap_locked() {
    spoil_heap(reinterpret_cast<void*>(0x4141414141414140));
    opaque(::malloc(3000));
    stay();
}
[[gnu::noinline]] void corrupt_heap() {  // noticed by malloc with the arena locked
    void* const memory = ::malloc(3000);
    void* const separator = opaque(::malloc(3000));
    ::free(opaque(memory));
    ::free(opaque(memory));
    static_cast<void>(separator);
    stay();
}

// A thread that stays in malloc: what it reads there lies behind the end of a file, and SIGBUS has a handler that does
// not return.
void never_returns(int) {
    count_in();
    sleeps();
}
[[gnu::noinline]] void* stays_in_malloc(void*) {
    int const empty = ::memfd_create("empty", MFD_CLOEXEC);
    void* const page = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, empty, 0);
    require(page != MAP_FAILED, "mmap");
    spoil_heap(page);
    opaque(::malloc(3000));
    ::_exit(91);
}
[[gnu::noinline]] void heap_locked_by_another() {
    ::signal(SIGBUS, never_returns);
    start(stays_in_malloc);
    until_standing_by(3);
    write_null();
    stay();
}

[[gnu::noinline]] void* holds_stderr(void*) {
    ::flockfile(stderr);
    count_in();
    sleeps();
    return nullptr;
}
[[gnu::noinline]] void stdio_locked() {
    start(holds_stderr);
    ::flockfile(stdout);
    until_standing_by(3);
    write_null();
    stay();
}

int crashing_visitor(dl_phdr_info*, std::size_t, void*) {
    write_null();
    return 1;
}
int sleeping_visitor(dl_phdr_info*, std::size_t, void*) {
    count_in();
    sleeps();
    return 1;
}
[[gnu::noinline]] void loader_locked() {
    ::dl_iterate_phdr(crashing_visitor, nullptr);
    stay();
}
[[gnu::noinline]] void* holds_loader(void*) {
    ::dl_iterate_phdr(sleeping_visitor, nullptr);
    return nullptr;
}
[[gnu::noinline]] void loader_locked_by_another() {
    start(holds_loader);
    until_standing_by(3);
    write_null();
    stay();
}

#if defined(VICTIM_STATIC)  // and so without libraries
void in_a_library_constructor() { ::_exit(92); }
void in_an_unloaded_library() { ::_exit(92); }
#else
[[gnu::noinline]] void in_a_library_constructor() {
    ::setenv("VICTIM_CONSTRUCTOR", "1", 1);
    require(::dlopen(file, RTLD_NOW) != nullptr, "dlopen");
    stay();
}
[[gnu::noinline]] void in_an_unloaded_library() {
    void* const library = ::dlopen(file, RTLD_NOW);
    require(library != nullptr, "dlopen");
    auto const function = reinterpret_cast<int (*)(int)>(::dlsym(library, "library_function"));
    require(function != nullptr && function(1) == 2, "dlsym");
    ::dlclose(library);
    require(::dlopen(file, RTLD_NOW | RTLD_NOLOAD) == nullptr, "dlclose");
    function(1);
    stay();
}
#endif

[[gnu::noinline]] void at_exit() {
    write_null();
    stay();
}
void in_atexit() {
    ::atexit(at_exit);
    ::exit(3);
}

struct crashes_at_the_end {
    [[gnu::noinline]] ~crashes_at_the_end() {
        write_null();
        stay();
    }
};
void in_static_destruction() {
    static crashes_at_the_end here;
    ::exit(3);
}

[[gnu::noinline]] void* on_small_stack(void*) {
    tocsin::thread_guard here{"small"};
    write_null();
    return nullptr;
}
void small_stack() {
    start(on_small_stack, nullptr, static_cast<std::size_t>(PTHREAD_STACK_MIN));
    sleeps();
}

[[gnu::noinline]] void* overflows(void*) {
    tocsin::thread_guard here{"worker"};
    raise_fault(fault::stack_overflow);
    return nullptr;
}
void overflow_of_a_worker() {
    start(overflows);
    sleeps();
}

[[gnu::noinline]] int descends(int depth) {
    int volatile here = depth;
    if (depth == 0) write_null();
    int (*const again)(int) = descends;
    return depth == 0 ? 0 : opaque(again)(depth - 1) + here;
}
void deep() {
    descends(10'000);
    stay();
}

pthread_barrier_t together;
[[gnu::noinline]] void* one_of_eight(void*) {
    tocsin::thread_guard here{"one of eight"};
    ::pthread_barrier_wait(&together);
    write_null();
    return nullptr;
}
void eight_at_once() {
    ::pthread_barrier_init(&together, nullptr, 8);
    for (int i = 0; i < 8; ++i) start(one_of_eight);
    sleeps();
}

// The driver sends; to the thread that waits in the last one.
[[gnu::noinline]] void is_told() {
    ::dprintf(1, "ready %d\n", ::getpid());
    sleeps();
}
[[gnu::noinline]] void* waits_for_signal(void*) {
    tocsin::thread_guard here{"target"};
    ::dprintf(1, "ready %ld\n", ::syscall(SYS_gettid));
    sleeps();
    return nullptr;
}
void thread_is_told() {
    start(waits_for_signal);
    sleeps();
}

[[gnu::noinline]] void stderr_closed() {
    ::close(2);
    write_null();
    stay();
}
[[gnu::noinline]] void stderr_taken() {
    ::close(2);
    require(::open(file, O_WRONLY) == 2, "open");
    write_null();
    stay();
}

// --- The table ---------------------------------------------------------------------------------------------

struct scenario {
    char const* name;
    void (*run)();
};
constexpr scenario scenarios[] = {
    {"assertion", assertion},
    {"terminate_in_catch", terminate_in_catch},
    {"in_another_handler", in_another_handler},
    {"on_the_alternate_stack", on_the_alternate_stack},
    {"overflow_of_the_alternate_stack", overflow_of_the_alternate_stack},
    {"forked_child", forked_child},
    {"vforked_child", vforked_child},
    {"after_a_vforked_child", after_a_vforked_child},
    {"heap_locked", heap_locked},
    {"corrupt_heap", corrupt_heap},
    {"heap_locked_by_another", heap_locked_by_another},
    {"stdio_locked", stdio_locked},
    {"loader_locked", loader_locked},
    {"loader_locked_by_another", loader_locked_by_another},
    {"in_a_library_constructor", in_a_library_constructor},
    {"in_an_unloaded_library", in_an_unloaded_library},
    {"in_atexit", in_atexit},
    {"in_static_destruction", in_static_destruction},
    {"small_stack", small_stack},
    {"overflow_of_a_worker", overflow_of_a_worker},
    {"deep", deep},
    {"eight_at_once", eight_at_once},
    {"is_told", is_told},
    {"thread_is_told", thread_is_told},
    {"write_null", write_null},  // standard error is whatever the driver has made it
    {"stderr_closed", stderr_closed},
    {"stderr_taken", stderr_taken},
};

void list_faults() {
    for (fault const each : tocsin::testing::all_faults)
        ::printf("%s %d\n", tocsin::testing::name(each), tocsin::testing::expected_signal(each));
}

[[gnu::noinline]] void crash(char const* how) {
    constexpr char prefix[] = "fault:";
    constexpr std::size_t length = sizeof prefix - 1;
    if (::strncmp(how, prefix, length) == 0) {
        for (fault const each : tocsin::testing::all_faults)
            if (::strcmp(how + length, tocsin::testing::name(each)) == 0) raise_fault(each);
    }
    for (scenario const& each : scenarios)
        if (::strcmp(how, each.name) == 0) each.run();
    stay();
}

}  // namespace victim

int main(int count, char** words) {
    using namespace tocsin;
    if (count < 2) return 2;
    if (::strcmp(words[1], "--faults") == 0) return victim::list_faults(), 0;
    if (count > 2) victim::file = words[2];
    testing::no_core here;
    ::mallopt(M_ARENA_MAX, 1);  // one heap lock for all threads
    victim::start(victim::waits);
    victim::start(victim::runs);
    victim::until_standing_by(2);
    // Never destroyed: some scenarios crash after main. One of them has a handler for SIGBUS beside it.
    auto const* const signals = ::strcmp(words[1], "heap_locked_by_another") == 0
                                    ? static_cast<void const*>(new guard{on_crash<SIGSEGV>(dump_threads)})
                                    : new guard{on_crash(dump_threads)};
    victim::crash(words[1]);
    return signals != nullptr ? 4 : 5;
}
