// SPDX-License-Identifier: MIT
// What does a signal cost when a guard takes it, and how does that grow? Each contender is a disposition of SIGUSR1 for
// a while; the thread signals itself.
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <chrono>
#include <memory>
#include <vector>

#include <tocsin/defer.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/wake.hpp>
#include <tocsin/watchdog.hpp>

#include "peers/peer.hpp"
#include "support/measure.hpp"

using namespace tocsin;
using namespace tocsin::bench;

namespace {

constexpr int signals_a_round = 1500;
volatile unsigned long seen;
int descriptor = -1;

pid_t process;
long thread;

void send_one() { ::syscall(SYS_tgkill, process, thread, SIGUSR1); }
double send_many() { return each_call(signals_a_round, send_one); }

void know_myself() {
    process = ::getpid();
    thread = ::syscall(SYS_gettid);
}

void count(int, siginfo_t*, void*) { seen = seen + 1; }
void write_descriptor(int, siginfo_t*, void*) {
    std::uint64_t const one = 1;
    seen = seen + 1;
    if (::write(descriptor, &one, sizeof one) < 0) std::abort();
}
void ask_pid_and_write(int signal, siginfo_t* info, void* context) {
    ::syscall(SYS_getpid);
    write_descriptor(signal, info, context);
}

// A bare disposition for the time of one measurement.
struct bare {
    struct sigaction before {};
    explicit bare(void (*handler)(int, siginfo_t*, void*)) {
        struct sigaction action {};
        action.sa_sigaction = handler;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
        sigfillset(&action.sa_mask);
        ::sigaction(SIGUSR1, &action, &before);
    }
    ~bare() { ::sigaction(SIGUSR1, &before, nullptr); }
};

double bare_cost(void (*handler)(int, siginfo_t*, void*)) {
    bare const here{handler};
    return send_many();
}

// The reader has looked before each signal; looking is not in it.
double first_wake_up_bare(void (*handler)(int, siginfo_t*, void*)) {
    bare const here{handler};
    double total = 0;
    for (int i = 0; i < signals_a_round; ++i) {
        double const start = thread_clock();
        send_one();
        total += thread_clock() - start;
        std::uint64_t drained = 0;
        if (::read(descriptor, &drained, sizeof drained) < 0) use(drained);
    }
    return total / signals_a_round;
}

double first_wake_up() {
    guard one{on<SIGUSR1>(wake)};
    double total = 0;
    for (int i = 0; i < signals_a_round; ++i) {
        double const start = thread_clock();
        send_one();
        total += thread_clock() - start;
        for (delivery const& each : one.take()) use(each);
    }
    return total / signals_a_round;
}

double wake_up_pending() {
    guard const one{on<SIGUSR1>(wake)};
    send_one();
    return send_many();
}

double peer_cost(loop_peer const& peer) {
    peer.install(SIGUSR1);
    double total = 0;
    for (int i = 0; i < 5; ++i) {
        total += each_call(signals_a_round / 5, send_one);
        for (int turn = 0; turn < 3; ++turn) peer.turn(false);
    }
    peer.uninstall(SIGUSR1);
    return total / 5;
}

auto const add_one = in_handler([](delivery const&) noexcept { seen = seen + 1; });

template <class... Reactions>
double row_cost(Reactions... reactions) {
    guard const one{on<SIGUSR1>(reactions...)};
    return send_many();
}

void rows_of_the_table() {
    contest all{"delivery", rounds(31)};
    all.row("real signal, in_handler, SA_ONSTACK").floor("sigaction", [] { return bare_cost(count); });
    for (loop_peer const& each : loop_peers()) all.peer(each.name, [&each] { return peer_cost(each); });
    for (std::string const& name : absent_peers()) all.absent(name);
    all.ours("in_handler(f)", target::times(1.01), [] { return row_cost(add_one); });
    all.row("the same, defer(f)").floor_of("sigaction");
    all.ours("defer(f)", {}, [] { return row_cost(defer([] {})); }, "+ getpid, the price of fork safety");

    all.row("wake-up, the first").floor("sigaction, timed one by one", [] {
        double total = 0;
        bare const here{count};
        for (int i = 0; i < signals_a_round; ++i) {
            double const start = thread_clock();
            send_one();
            total += thread_clock() - start;
        }
        return total / signals_a_round;
    });
    all.part("one eventfd write by hand", [] { return first_wake_up_bare(write_descriptor); });
    all.part("one eventfd write and one getpid by hand", [] { return first_wake_up_bare(ask_pid_and_write); });
    all.ours("wake, taken each time", target::times(1.23), first_wake_up, "1.17, and one getpid (0.06)");

    all.row("wake-up, while one is pending").floor_of("sigaction");
    all.part("one getpid by hand", [] {
        return bare_cost([](int, siginfo_t*, void*) {
            ::syscall(SYS_getpid);
            seen = seen + 1;
        });
    });
    all.ours("wake, never taken", target::times(1.08), wake_up_pending, "1.02, and one getpid (0.06)");
    all.run();
}

// Rows on other signals, and claims on this one by guards further out.
template <int... Numbers>
double among_rows(std::integer_sequence<int, Numbers...>) {
    guard const others{on<rt<Numbers + 1>>(add_one)...};
    return row_cost(add_one);
}
double nested(int outer) {
    if (outer == 0) return row_cost(add_one);
    guard const one{on<SIGUSR1>(add_one)};
    return nested(outer - 1);
}

// In a process that has so many of something; the next contender has a process without them.
template <class F>
double in_child(F f) {
    int ends[2];
    double answer = no_figure;
    if (::pipe(ends) != 0) return answer;
    pid_t const pid = ::fork();
    if (pid == 0) {
        know_myself();
        double const cost = f();
        ::_exit(::write(ends[1], &cost, sizeof cost) == sizeof cost ? 0 : 1);
    }
    ::close(ends[1]);
    if (::read(ends[0], &answer, sizeof answer) != sizeof answer) answer = no_figure;
    ::close(ends[0]);
    ::waitpid(pid, nullptr, 0);
    return answer;
}

// This one included.
double among_threads(int many) {
    return in_child([many] {
        pthread_attr_t attributes;
        ::pthread_attr_init(&attributes);
        ::pthread_attr_setstacksize(&attributes, 64 * 1024);
        pthread_t made;
        for (int i = 1; i < many; ++i)
            if (::pthread_create(&made, &attributes, [](void*) -> void* { return ::pause(), nullptr; }, nullptr) != 0)
                return no_figure;
        return row_cost(add_one);
    });
}
double among_watchdogs(int many) {
    return in_child([many] {
        using guard_type = decltype(guard{watchdog(std::chrono::hours{1})(add_one)});
        std::vector<std::unique_ptr<guard_type>> all;
        for (int i = 0; i < many; ++i)
            all.push_back(std::make_unique<guard_type>(watchdog(std::chrono::hours{1})(add_one)));
        return row_cost(add_one);
    });
}

void curves() {
    contest all{"delivery", rounds(15)};
    auto const point = [&all](char const* curve, double x, std::function<double()> run) {
        all.row(curve).part(curve, std::move(run)).curve(curve, x, growth::constant);
    };
    point("rows in a guard", 1, [] { return row_cost(add_one); });
    point("rows in a guard", 8, [] { return among_rows(std::make_integer_sequence<int, 7>{}); });
    point("rows in a guard", 26, [] { return among_rows(std::make_integer_sequence<int, 25>{}); });
    for (int const depth : {1, 4, 16, 64}) point("guards nested", depth, [depth] { return nested(depth - 1); });
    auto const& a = add_one;
    point("reactions in a row", 1, [=] { return row_cost(a); });
    point("reactions in a row", 4, [=] { return row_cost(a, a, a, a); });
    point("reactions in a row", 16, [=] { return row_cost(a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a); });
    for (int const many : {1, 100, 1000}) point("threads of the process", many, [many] { return among_threads(many); });
    for (int const many : {1, 100, 10'000}) point("watchdogs", many, [many] { return among_watchdogs(many); });
    all.run();
}

}  // namespace

int main() {
    know_myself();
    descriptor = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rows_of_the_table();
    curves();
}
