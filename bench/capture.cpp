// SPDX-License-Identifier: MIT
// The stacks of all threads: what does it take to have them, with 10 to 10,000 of them, and with names? The threads are
// parked, 14 frames deep, and nothing that they wait in may be disturbed.
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <atomic>
#include <vector>

#include <tocsin/dump.hpp>
#include <tocsin/in_signal/capture.hpp>

#include "support/measure.hpp"
#include "support/python.hpp"

using namespace tocsin;
using namespace tocsin::bench;

namespace {

std::uint32_t never_changes;  // futex
std::atomic<unsigned> parked;
std::atomic<unsigned long> interrupted;

#pragma GCC diagnostic ignored "-Winfinite-recursion"
[[gnu::noinline]] int park_at(int depth) {
    if (depth > 0) {
        int const answer = park_at(depth - 1) + 1;
        __asm__ volatile("" : : "r"(answer) : "memory");
        return answer;
    }
    parked.fetch_add(1);
    for (;;) {
        ::syscall(SYS_futex, &never_changes, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
        if (errno == EINTR) interrupted.fetch_add(1);
    }
    return 0;
}

// Waits that SA_RESTART does not protect (signal(7)).
[[gnu::noinline]] int wait_somehow(int which) {
    parked.fetch_add(1);
    int const loop = ::epoll_create1(EPOLL_CLOEXEC);
    for (;;) {
        timespec const long_time{3600, 0};
        epoll_event event{};
        errno = 0;
        if (which % 3 == 0) ::nanosleep(&long_time, nullptr);
        if (which % 3 == 1) ::poll(nullptr, 0, 3'600'000);
        if (which % 3 == 2) ::epoll_wait(loop, &event, 1, 3'600'000);
        if (errno == EINTR) interrupted.fetch_add(1);
    }
    return 0;
}

std::vector<int> threads;

bool start_thread(void* (*run)(void*), void* argument) {
    pthread_attr_t attributes;
    pthread_t made;
    ::pthread_attr_init(&attributes);
    ::pthread_attr_setstacksize(&attributes, 64 * 1024);
    ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    bool const started = ::pthread_create(&made, &attributes, run, argument) == 0;
    ::pthread_attr_destroy(&attributes);
    return started;
}

void list_threads() {
    threads.clear();
    int const self = in_signal::gettid();
    in_signal::each_task([self](int thread) {
        if (thread != self) threads.push_back(thread);
    });
}

// Until all of them wait again: who has been signalled is on the way back for a while after its answer, and would be
// somebody else's price.
void settle() {
    for (int const thread : threads)
        for (int i = 0; i < 1'000 && !in_signal::where_it_waits(thread).known; ++i) ::usleep(500);
}

// As many as that, those that are there included; fewer where the system refuses.
void park_threads(unsigned wanted) {
    unsigned started = parked;
    while (started < wanted && start_thread([](void*) -> void* { return park_at(12), nullptr; }, nullptr)) ++started;
    while (parked < started) ::usleep(500);
    ::usleep(20'000);
    list_threads();
}

// The floor: a real-time signal to each, which stores its own frames into a slot and counts down.
struct slot {
    std::uintptr_t frames[16];
    unsigned count;
};
std::vector<slot> slots;
std::uint32_t left;  // futex

void store_own_frames(int, siginfo_t* info, void* context) {
    slot& to = slots[static_cast<std::size_t>(info->si_value.sival_int)];
#if defined(__x86_64__)
    auto const& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    to.frames[0] = static_cast<std::uintptr_t>(registers[REG_RIP]);
    auto at = static_cast<std::uintptr_t>(registers[REG_RBP]);
    auto const low = static_cast<std::uintptr_t>(registers[REG_RSP]);
#else
    auto const& registers = static_cast<ucontext_t*>(context)->uc_mcontext;
    to.frames[0] = registers.pc;
    auto at = static_cast<std::uintptr_t>(registers.regs[29]);
    auto const low = static_cast<std::uintptr_t>(registers.sp);
#endif
    unsigned count = 1;
    while (count < 16 && at > low && at < low + 60 * 1024 && at % 8 == 0) {
        auto const* const record = reinterpret_cast<std::uintptr_t const*>(at);
        to.frames[count++] = record[1];
        if (record[0] <= at) break;
        at = record[0];
    }
    to.count = count;
    if (__atomic_sub_fetch(&left, 1, __ATOMIC_SEQ_CST) == 0)
        ::syscall(SYS_futex, &left, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

constexpr int signal_by_hand = 40;

void install_by_hand() {
    struct sigaction action {};
    action.sa_sigaction = store_own_frames;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    ::sigaction(signal_by_hand, &action, nullptr);
}

double signalled_by_hand() {
    settle();
    double const start = wall_clock();
    slots.resize(threads.size());
    __atomic_store_n(&left, static_cast<std::uint32_t>(threads.size()), __ATOMIC_SEQ_CST);
    for (std::size_t i = 0; i < threads.size(); ++i) {
        siginfo_t info{};
        info.si_code = SI_QUEUE;
        info.si_value.sival_int = static_cast<int>(i);
        while (::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), threads[i], signal_by_hand, &info) != 0) ::sched_yield();
    }
    for (std::uint32_t now; (now = __atomic_load_n(&left, __ATOMIC_SEQ_CST)) != 0;)
        ::syscall(SYS_futex, &left, FUTEX_WAIT_PRIVATE, now, nullptr, nullptr, 0);
    return (wall_clock() - start) / 1000 / static_cast<double>(threads.size());
}

std::size_t least_frames;

// Each of the threads, which are known: the list of them is a part of its own.
template <class Capture>
double captured(Capture capture_one) {
    static in_signal::stack stack;
    settle();
    int const tasks = ::open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    double const start = wall_clock();
    least_frames = 1000;
    for (int const thread : threads) {
        capture_one(thread, tasks, stack);
        least_frames = std::min(least_frames, static_cast<std::size_t>(stack.walked.frames));
    }
    double const taken = wall_clock() - start;
    ::close(tasks);
    return taken / 1000 / static_cast<double>(threads.size());
}

constexpr std::uint64_t patience = 1'000'000'000;

in_signal::table& table() { return *in_signal::the_table.load(); }
in_signal::capture_desk& desk() { return in_signal::desk_of(table())->captures; }

double passive() {
    desk().rows.begin_pass();
    return captured([](int thread, int tasks, in_signal::stack& to) {
        in_signal::capture(table(), desk(), thread, 64, patience, to, tasks);
    });
}

// As a report asks the threads that run.
double signalled() {
    static in_signal::stack stack;
    settle();
    double const start = wall_clock();
    desk().rows.begin_pass();
    least_frames = 1000;
    auto const look = [](int) { least_frames = std::min<std::size_t>(least_frames, stack.walked.frames); };
    std::uint64_t const deadline = in_signal::monotonic() + patience;
    for (int const thread : threads) {
        if (desk().asked == in_signal::most_asked) in_signal::collect_all(desk(), 0, stack, look);
        stack.walked = {};
        in_signal::ask_for_stack(table(), desk(), thread, 64, deadline, stack);
    }
    in_signal::collect_all(desk(), 0, stack, look);
    return (wall_clock() - start) / 1000 / static_cast<double>(threads.size());
}

// What reading a thread asks of /proc, and nothing else.
double proc_alone() {
    return captured([](int thread, int tasks, in_signal::stack& to) {
        in_signal::waiting_place place{thread, tasks};
        to.walked.frames = place.look().known && place.still() ? 1000 : 0;
    });
}

double enumeration() {
    double const start = wall_clock();
    std::size_t count = 0;
    in_signal::each_task([&](int) { ++count; });
    return (wall_clock() - start) / 1000 / static_cast<double>(count);
}

// Wall time of a command on this process, in milliseconds.
double run_on_us(char const* command) {
    char line[300];
    std::snprintf(line, sizeof line, "%s %d >/dev/null 2>&1 </dev/null", command, ::getpid());
    double const start = wall_clock();
    int const status = std::system(line);
    return WIFEXITED(status) && WEXITSTATUS(status) < 126 ? (wall_clock() - start) / 1e6 : no_figure;
}
constexpr char gdb[] = "gdb -nx -batch -ex 'thread apply all bt' -p";
constexpr char eu_stack[] = "eu-stack -n 0 -p";

bool is_there(char const* program) {
    return std::system((std::string{"command -v "} + program + " >/dev/null 2>&1").c_str()) == 0;
}

constexpr char python_script[] =
    "import faulthandler, threading, time\n"
    "held = threading.Event()\n"
    "threading.stack_size(65536 * 2)\n"
    "for _ in range(100): threading.Thread(target=held.wait, daemon=True).start()\n"
    "time.sleep(0.3)\n"
    "null = open('/dev/null', 'w')\n"
    "def turn():\n"
    "    start = time.perf_counter_ns()\n"
    "    faulthandler.dump_traceback(null, all_threads=True)\n"
    "    return time.perf_counter_ns() - start\n";

void scale(unsigned count, int times) {
    park_threads(count);
    std::string const row = std::to_string(threads.size()) + " threads, each";
    if (threads.size() < count) print_absent("capture", std::to_string(count) + " threads", "refused by the system");
    contest all{"capture", rounds(times)};
    all.row(row, "us").floor("signal and frame-pointer walk by hand", signalled_by_hand);
    all.part("reading the list of threads", enumeration);
    all.part("/proc/self/task/N/syscall opened, read twice, closed", proc_alone);
    all.ours("signalled, many at once", target::times(1.1), signalled, "what threads that run need");
    all.ours("waiting threads read, not signalled", {}, passive, "0 system calls disturbed");
    all.run();
    print_point("capture", "each of so many threads", count,
                all.median_of("signal and frame-pointer walk by hand"), "us", growth::any, "by hand");
    print_point("capture", "each of so many threads", count, all.median_of("waiting threads read, not signalled"), "us",
                growth::each);
    if (least_frames < 3) print_absent("capture", row, "a stack without its frames");
}

// The child has 100 threads in waits of all kinds.
void named() {
    for (int i = 0; i < 100; ++i)
        start_thread(
            [](void* which) -> void* { return wait_somehow(static_cast<int>(reinterpret_cast<long>(which))), nullptr; },
            reinterpret_cast<void*>(static_cast<long>(i)));
    while (parked < 100) ::usleep(500);
    ::usleep(20'000);
    ::prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    int const null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    dump(null);
    interrupted = 0;
    python faulthandler{python_script};

    contest all{"dump of 100 threads", rounds(21)};
    all.row("with names", "ms");
    if (faulthandler.installed())
        all.peer("faulthandler (100 threads at most)", [&] { return faulthandler.turn() / 1e6; });
    else
        all.absent("faulthandler");
    for (char const* const elsewhere : {"threadstacks", "Go", "JVM"}) all.absent(elsewhere);
    all.ours("dump(fd)", target::at_most(5), [&] {
        double const start = wall_clock();
        dump(null);
        return (wall_clock() - start) / 1e6;
    });
    list_threads();
    all.row("raw", "ms").ours("list and capture of all", target::at_most(2), [] {
        return (enumeration() + passive()) * 100 / 1000;
    });
    all.run();
    result shown{"dump of 100 threads", "system calls disturbed by all these dumps", "dump(fd)", role::ours,
                 static_cast<double>(interrupted.load()), "EINTR", 0, target::at_most(0.5)};
    shown.print();

    contest outside{"dump of 100 threads", 3};
    outside.row("with names", "ms");
    if (is_there("gdb"))
        outside.peer("gdb, from outside", [] { return run_on_us(gdb); });
    else
        outside.absent("gdb");
    if (is_there("eu-stack"))
        outside.peer("eu-stack, from outside", [] { return run_on_us(eu_stack); });
    else
        outside.absent("eu-stack");
    outside.run();
}

}  // namespace

int main(int words, char** word) {
    if (words > 1) {  // for a profile: so many threads
        dump(::open("/dev/null", O_WRONLY | O_CLOEXEC));
        park_threads(static_cast<unsigned>(std::atoi(word[1])));
        for (int i = 0; i < 5; ++i) std::printf("read %.1f us\n", passive());
        for (int i = 0; i < 2; ++i) std::printf("signalled %.1f us\n", signalled());
        std::fflush(stdout);
        ::_exit(0);
    }
    if (pid_t const child = ::fork(); child == 0) {
        named();
        ::_exit(0);
    } else {
        ::waitpid(child, nullptr, 0);
    }
    install_by_hand();
    int const null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    dump(null);  // the library is ready
    scale(10, 31);
    scale(100, 21);
    scale(1'000, 7);
    scale(4'000, 3);
    scale(10'000, 3);
    ::_exit(0);
}
