// SPDX-License-Identifier: MIT
// What does a signal cost when a guard takes it? Each contender is a disposition of SIGUSR1; they take turns within
// one run, and what counts is the median of each round's ratio to the bare handler of the same round.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <vector>

#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <tocsin/tocsin.hpp>

using namespace tocsin;

namespace {

constexpr int rounds = 41;
constexpr int signals_a_round = 4000;
volatile unsigned long seen;

void bare(int) { seen = seen + 1; }

double thread_nanoseconds() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

double send_many() {
    pid_t const process = getpid();
    long const thread = syscall(SYS_gettid);
    double const start = thread_nanoseconds();
    for (int i = 0; i < signals_a_round; ++i) syscall(SYS_tgkill, process, thread, SIGUSR1);
    return (thread_nanoseconds() - start) / signals_a_round;
}

double with_bare_handler() {
    struct sigaction action {};
    struct sigaction before {};
    action.sa_handler = bare;
    action.sa_flags = SA_ONSTACK | SA_RESTART;
    sigaction(SIGUSR1, &action, &before);
    double const cost = send_many();
    sigaction(SIGUSR1, &before, nullptr);
    return cost;
}

template <class... Reactions>
double with_row(Reactions... reactions) {
    guard const one{on<SIGUSR1>(reactions...)};
    return send_many();
}

struct contender {
    char const* name;
    std::function<double()> run;
    std::vector<double> cost{};
    std::vector<double> ratio{};
};

double median(std::vector<double> of) {
    std::nth_element(of.begin(), of.begin() + static_cast<std::ptrdiff_t>(of.size() / 2), of.end());
    return of[of.size() / 2];
}

}  // namespace

int main() {
    auto const count = in_handler([](delivery const&) noexcept { seen = seen + 1; });
    std::vector<contender> all{
        {"bare sigaction, SA_ONSTACK", with_bare_handler},
        {"in_handler(f)", [&] { return with_row(count); }},
        {"in_handler(f), in_handler(f)", [&] { return with_row(count, count); }},
        {"wake, reader woken once", [] { return with_row(wake); }},
        {"defer(f), never run", [] { return with_row(defer([] {})); }},
    };
    for (int round = 0; round < rounds; ++round)
        for (contender& each : all) {
            each.cost.push_back(each.run());
            each.ratio.push_back(each.cost.back() / all.front().cost.back());
        }
    std::printf("%-32s %10s %8s\n", "one SIGUSR1 to this thread", "ns", "ratio");
    for (contender const& each : all)
        std::printf("%-32s %10.0f %8.3f\n", each.name, median(each.cost), median(each.ratio));
}
