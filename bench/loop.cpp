// SPDX-License-Identifier: MIT
// From a signal to the callback of an event loop. Each contender is a process of its own with one loop; all processes
// and the sender stay on one processor, so that no wake-up of another one hides what the contender does. They take
// turns in blocks; the callback writes the time into a shared page.
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <climits>
#include <new>

#include <tocsin/block.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/signalfd.hpp>
#include <tocsin/wait.hpp>
#include <tocsin/wake.hpp>

#include "peers/peer.hpp"
#include "support/measure.hpp"

using namespace tocsin;
using namespace tocsin::bench;

namespace {

// Shared by the sender and one contender.
struct page {
    double arrived;
    std::uint32_t count;  // futex
    std::uint32_t ready;
};

page* here;

void call_back(int) {
    here->arrived = wall_clock();
    __atomic_fetch_add(&here->count, 1, __ATOMIC_SEQ_CST);
    ::syscall(SYS_futex, &here->count, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void say_ready() { __atomic_store_n(&here->ready, 1, __ATOMIC_SEQ_CST); }

int watch(int fd) {
    int const loop = ::epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    ::epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
    return loop;
}
bool await(int loop) {
    epoll_event event{};
    return ::epoll_wait(loop, &event, 1, -1) == 1;
}

int descriptor;
volatile unsigned long arrivals_by_hand;

void eventfd_by_hand() {
    descriptor = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct sigaction action {};
    action.sa_handler = [](int) {
        std::uint64_t const one = 1;
        arrivals_by_hand = arrivals_by_hand + 1;
        if (::write(descriptor, &one, sizeof one) < 0) std::abort();
    };
    action.sa_flags = SA_ONSTACK | SA_RESTART;
    ::sigaction(SIGUSR1, &action, nullptr);
    say_ready();
    int const loop = watch(descriptor);
    for (;;) {
        if (!await(loop)) continue;
        std::uint64_t drained = 0;
        if (::read(descriptor, &drained, sizeof drained) > 0) call_back(SIGUSR1);
    }
}

// With what wake promises: nothing is written into the parent's descriptor by a child of vfork, whoever looks finds how
// many came and what the first one said, and a handler does not write while the loop has yet to look.
struct record_by_hand {
    std::uint32_t state;  // 0 is empty
    std::uint32_t told;
    std::uint64_t arrivals;
    siginfo_t first;
};
record_by_hand record;
pid_t home;

void record_and_tell(int, siginfo_t* what, void*) {
    int const kept = errno;
    if (::syscall(SYS_getpid) == home) {
        if (__atomic_exchange_n(&record.state, 1, __ATOMIC_SEQ_CST) == 0) record.first = *what;
        __atomic_fetch_add(&record.arrivals, 1, __ATOMIC_SEQ_CST);
        std::uint64_t const one = 1;
        if (__atomic_exchange_n(&record.told, 1, __ATOMIC_SEQ_CST) == 0 &&
            ::write(descriptor, &one, sizeof one) < 0)
            std::abort();
    }
    errno = kept;
}

void eventfd_with_record() {
    home = ::getpid();
    descriptor = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct sigaction action {};
    action.sa_sigaction = record_and_tell;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    ::sigaction(SIGUSR1, &action, nullptr);
    say_ready();
    int const loop = watch(descriptor);
    for (;;) {
        if (!await(loop)) continue;
        std::uint64_t drained = 0;
        if (::read(descriptor, &drained, sizeof drained) <= 0) continue;
        __atomic_store_n(&record.told, 0, __ATOMIC_SEQ_CST);
        siginfo_t const first = record.first;
        __atomic_store_n(&record.state, 0, __ATOMIC_SEQ_CST);
        if (__atomic_exchange_n(&record.arrivals, 0, __ATOMIC_SEQ_CST) != 0) call_back(first.si_signo);
    }
}

sigset_t only_ours() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    return set;
}

void signalfd_by_hand() {
    sigset_t const set = only_ours();
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    int const fd = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    say_ready();
    int const loop = watch(fd);
    for (;;) {
        signalfd_siginfo what{};
        if (await(loop) && ::read(fd, &what, sizeof what) > 0) call_back(SIGUSR1);
    }
}

void sigwaitinfo_by_hand() {
    sigset_t const set = only_ours();
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    say_ready();
    siginfo_t what{};
    for (;;)
        if (::sigwaitinfo(&set, &what) > 0) call_back(SIGUSR1);
}

// A signal that is not blocked would not be waited for but delivered, and be lost.
void sigwaitinfo_of_what_is_blocked() {
    sigset_t const set = only_ours();
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    say_ready();
    siginfo_t what{};
    for (;;) {
        sigset_t now;
        ::sigprocmask(SIG_BLOCK, nullptr, &now);
        if (sigismember(&now, SIGUSR1) != 1) std::abort();
        if (::sigwaitinfo(&set, &what) > 0) call_back(SIGUSR1);
    }
}

void our_wake() {
    guard signals{on<SIGUSR1>(wake)};
    say_ready();
    int const loop = watch(signals.fd());
    for (;;) {
        if (!await(loop)) continue;
        for (delivery const& each : signals.take()) call_back(each.signal());
    }
}

// What take() does, so that it can promise that the descriptor is empty, and empty in a forked child.
void signalfd_read_to_the_end() {
    sigset_t const set = only_ours();
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    int const fd = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    say_ready();
    int const loop = watch(fd);
    for (;;) {
        signalfd_siginfo what{};
        if (!await(loop)) continue;
        ::syscall(SYS_getpid);
        while (::read(fd, &what, sizeof what) > 0) call_back(SIGUSR1);
    }
}

void our_signal_descriptor() {
    signal_descriptor<SIGUSR1> const signals;
    say_ready();
    int const loop = watch(signals.fd());
    for (;;) {
        if (!await(loop)) continue;
        for (waited_signal const& each : signals.take()) call_back(each.signal());
    }
}

void our_wait() {
    block<SIGUSR1> const held;
    say_ready();
    for (;;) call_back(wait(signal_set{SIGUSR1}).signal());
}

struct contender_process {
    char const* name;
    page* shared;
    pid_t pid;
    clockid_t clock;
};

contender_process start(char const* name, std::function<void()> const& run) {
    void* const memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    auto* const shared = ::new (memory) page{};
    pid_t const pid = ::fork();
    if (pid == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        here = shared;
        run();
        ::_exit(1);
    }
    clockid_t clock = 0;
    ::clock_getcpuclockid(pid, &clock);
    return {name, shared, pid, clock};
}

// False if it does not come within a second.
bool await_callback(page& shared, std::uint32_t before) {
    timespec const patience{1, 0};
    while (__atomic_load_n(&shared.count, __ATOMIC_SEQ_CST) == before)
        if (::syscall(SYS_futex, &shared.count, FUTEX_WAIT, before, &patience, nullptr, 0) != 0 && errno == ETIMEDOUT)
            return false;
    return true;
}

void let_it_sleep() { ::usleep(15); }

// Until its disposition is there, the signal would be its end.
bool is_ready(contender_process const& of) {
    for (int i = 0; i < 2000; ++i, ::usleep(1000))
        if (__atomic_load_n(&of.shared->ready, __ATOMIC_SEQ_CST) != 0) return true;
    return false;
}

struct sample {
    double latency;
    double cpu;
};

sample measure(contender_process const& of, int times) {
    std::vector<double> latencies;
    double const cpu = nanoseconds(of.clock);
    for (int i = 0; i < times; ++i) {
        let_it_sleep();
        std::uint32_t const before = __atomic_load_n(&of.shared->count, __ATOMIC_SEQ_CST);
        double const sent = wall_clock();
        ::kill(of.pid, SIGUSR1);
        if (!await_callback(*of.shared, before)) return {no_figure, no_figure};
        latencies.push_back(of.shared->arrived - sent);
    }
    return {median(latencies), (nanoseconds(of.clock) - cpu) / times};
}

}  // namespace

int main() {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(::sysconf(_SC_NPROCESSORS_ONLN) > 1 ? 1U : 0U, &one);
    ::sched_setaffinity(0, sizeof one, &one);
    on_signal = call_back;

    std::vector<contender_process> all;
    all.push_back(start("eventfd + epoll by hand", eventfd_by_hand));
    all.push_back(start("signalfd + epoll by hand", signalfd_by_hand));
    all.push_back(start("sigwaitinfo by hand", sigwaitinfo_by_hand));
    all.push_back(start("wake", our_wake));
    all.push_back(start("wait(set)", our_wait));
    all.push_back(start("signalfd + epoll by hand, getpid, read to its end", signalfd_read_to_the_end));
    all.push_back(start("signal_descriptor + epoll", our_signal_descriptor));
    all.push_back(start("eventfd + epoll by hand, one getpid, a record", eventfd_with_record));
    all.push_back(start("sigwaitinfo by hand, one look at the mask", sigwaitinfo_of_what_is_blocked));
    std::size_t const first_peer = all.size();
    for (loop_peer const& each : loop_peers())
        all.push_back(start(each.name, [&each] {
            each.install(SIGUSR1);
            say_ready();
            for (;;) each.turn(true);
        }));
    for (contender_process const& each : all)
        if (!is_ready(each)) return 1;

    std::vector<sample> last(all.size());
    contest latency{"signal to loop", rounds(25)};
    auto const time_of = [&](std::size_t i) {
        return [&, i] {
            last[i] = measure(all[i], 150);
            return last[i].latency;
        };
    };
    latency.row("eventfd mode, same CPU").floor(all[0].name, time_of(0));
    for (std::size_t i = first_peer; i < all.size(); ++i) latency.peer(all[i].name, time_of(i));
    for (std::string const& name : absent_peers()) latency.absent(name);
    latency.same(all[7].name, time_of(7));
    latency.ours("wake + epoll", target::times(1.03), time_of(3), "+ one getpid in the handler, and the record");
    latency.row("signalfd mode, same CPU").floor(all[1].name, time_of(1));
    latency.same(all[5].name, time_of(5));
    latency.ours("signal_descriptor + epoll", target::times(1.03), time_of(6),
                 "+ a getpid and a read that finds nothing, after the callback");
    latency.row("sigwaitinfo mode, same CPU").floor(all[2].name, time_of(2));
    latency.same(all[8].name, time_of(8));
    latency.ours("wait(set)", target::times(1.03), time_of(4),
                 "+ one rt_sigprocmask, which tells that the signals are blocked");
    latency.run();

    contest cpu{"signal to loop", rounds(11)};
    auto const cpu_of = [&](std::size_t i) { return [&, i] { return measure(all[i], 150).cpu; }; };
    cpu.row("CPU time of the receiver, eventfd mode").floor(all[0].name, cpu_of(0));
    for (std::size_t i = first_peer; i < all.size(); ++i) cpu.peer(all[i].name, cpu_of(i));
    cpu.same(all[7].name, cpu_of(7));
    cpu.ours("wake + epoll", target::times(1.03), cpu_of(3));
    cpu.row("CPU time of the receiver, signalfd mode").floor(all[1].name, cpu_of(1)).same(all[5].name, cpu_of(5));
    cpu.ours("signal_descriptor + epoll", target::times(1.03), cpu_of(6));
    cpu.row("CPU time of the receiver, sigwaitinfo mode").floor(all[2].name, cpu_of(2));
    cpu.same(all[8].name, cpu_of(8));
    cpu.ours("wait(set)", target::times(1.03), cpu_of(4));
    cpu.run();
    for (contender_process const& each : all) ::kill(each.pid, SIGKILL);
}
