// SPDX-License-Identifier: MIT
#include <tocsin/signal_set.hpp>

#include <climits>
#include <iterator>
#include <vector>

#include "support/catch.hpp"

using namespace tocsin;

namespace {

std::vector<int> members(signal_set of) { return {of.begin(), of.end()}; }

}  // namespace

TEST_CASE("a set holds what it was given, once", "[signal_set]") {
    signal_set const set{SIGUSR1, SIGTERM, SIGUSR1};
    CHECK(set.contains(SIGUSR1));
    CHECK(set.contains(SIGTERM));
    CHECK_FALSE(set.contains(SIGUSR2));
    CHECK(set.size() == 2);
    CHECK(set.valid());
    CHECK(signal_set{}.empty());
    CHECK_FALSE(signal_set{});
    CHECK(set);
    for (int const number : {0, -1, 65, INT_MAX, INT_MIN}) CHECK_FALSE(set.contains(number));
}

TEST_CASE("sets of constants are constants, real-time signals among them", "[signal_set]") {
    constexpr signal_set set{SIGUSR1, rt<3>};
    static_assert(set.contains(SIGUSR1) && !set.contains(SIGHUP) && set.contains(rt<3>));
    static_assert((set | signal_set{SIGHUP}).contains(SIGHUP));
    static_assert(!(set - signal_set{SIGUSR1}).contains(SIGUSR1));
    static_assert((set & signal_set{rt<3>}) == signal_set{rt<3>});
    static_assert(~~set == set);
    static_assert(signal_set{SIGHUP, SIGINT}.size() == 2);
    static_assert(set_of<SIGUSR1, rt<3>>() == set);
    static_assert(*signal_set{SIGINT, SIGTERM}.begin() == SIGINT);
    CHECK(set.bits() == (1ULL << (SIGUSR1 - 1) | 1ULL << (SIGRTMIN + 2)));
}

TEST_CASE("a real-time signal is the same by number and by distance", "[signal_set]") {
    signal_set const by_number{SIGRTMIN + 3};
    signal_set const by_distance{rt<3>};
    CHECK(by_number == by_distance);
    CHECK(by_number.contains(rt<3>));
    CHECK(by_distance.contains(SIGRTMIN + 3));
    CHECK((by_number & by_distance) == by_number);
    CHECK((by_number - by_distance).empty());
    CHECK((by_distance - by_number).empty());
    CHECK((by_number | by_distance).size() == 1);
    CHECK_FALSE((~by_number).contains(rt<3>));
    CHECK_FALSE((~by_distance).contains(SIGRTMIN + 3));
    CHECK_FALSE(by_number.contains(rt<4>));
}

TEST_CASE("members are walked in ascending order", "[signal_set]") {
    CHECK(members({SIGTERM, SIGHUP, rt<0>, SIGRTMAX}) ==
          std::vector<int>{SIGHUP, SIGTERM, SIGRTMIN, SIGRTMAX});
    CHECK(members({}).empty());
    static_assert(std::forward_iterator<signal_set::iterator>);
}

TEST_CASE("set operations agree with what they do to each signal", "[signal_set]") {
    auto const left = GENERATE(signal_set{}, signal_set{SIGHUP, SIGINT, rt<1>},
                               signal_set{SIGHUP, SIGRTMIN + 1, 64}, ~signal_set{SIGTERM});
    auto const right = GENERATE(signal_set{}, signal_set{SIGINT, rt<1>}, signal_set{SIGRTMIN + 1, SIGTERM},
                                ~signal_set{rt<2>, SIGINT});
    for (int const signal : valid_signals()) {
        INFO(signal);
        bool const in_left = left.contains(signal);
        bool const in_right = right.contains(signal);
        CHECK((left | right).contains(signal) == (in_left || in_right));
        CHECK((left & right).contains(signal) == (in_left && in_right));
        CHECK((left - right).contains(signal) == (in_left && !in_right));
        CHECK((~left).contains(signal) == !in_left);
    }
    CHECK(~~left == left);
    signal_set changed = left;
    changed |= right;
    CHECK(changed == (left | right));
    changed -= right;
    CHECK(changed == left - right);
    changed &= left;
    CHECK(changed == (left - right));
}

TEST_CASE("a number that is no signal is remembered and is no member", "[signal_set]") {
    int const number = GENERATE(0, -1, 32, 33, 65, INT_MAX, INT_MIN + 1);
    INFO(number);
    signal_set set{SIGUSR1, number, 1000};
    CHECK_FALSE(set.valid());
    CHECK(set.invalid() == number);
    CHECK(set.size() == 1);
    CHECK_FALSE((signal_set{SIGHUP} | set).valid());
    CHECK_FALSE((signal_set{SIGHUP} - set).valid());
    CHECK_FALSE((~set).valid());
    CHECK_FALSE(signal_set{realtime{31}}.valid());
    CHECK_FALSE(signal_set{realtime{-1}}.valid());
}

TEST_CASE("sets go to libc's type and back", "[signal_set]") {
    signal_set const set{SIGUSR1, SIGCHLD, rt<5>, SIGRTMAX};
    sigset_t const native = set.native();
    CHECK(::sigismember(&native, SIGUSR1) == 1);
    CHECK(::sigismember(&native, SIGRTMIN + 5) == 1);
    CHECK(::sigismember(&native, SIGUSR2) == 0);
    CHECK(signal_set{native} == set);
    sigset_t all;
    ::sigfillset(&all);
    CHECK(signal_set{all} == valid_signals());
    CHECK(signal_set{all} == ~signal_set{});
}

TEST_CASE("the valid signals are the standard ones and SIGRTMIN to SIGRTMAX", "[signal_set]") {
    CHECK(valid_signals().size() == static_cast<unsigned>(31 + SIGRTMAX - SIGRTMIN + 1));
    CHECK((valid_signals() & reserved_signals()).empty());
    CHECK((valid_signals() | reserved_signals()).size() == 64);
    CHECK(reserved_signals().contains(SIGRTMIN - 1));
    for (int const signal : valid_signals())
        CHECK(can_be_caught(signal) != uncatchable_signals.contains(signal));
}

TEST_CASE("the named sets have the members that their names promise", "[signal_set]") {
    for (int const signal : valid_signals()) CHECK(crash_signals.contains(signal) == is_fault(signal));
    CHECK(members(uncatchable_signals) == std::vector<int>{SIGKILL, SIGSTOP});
    CHECK(members(termination_signals) == std::vector<int>{SIGHUP, SIGINT, SIGQUIT, SIGTERM});
    CHECK(job_control_signals == signal_set{SIGTSTP, SIGTTIN, SIGTTOU, SIGSTOP, SIGCONT});
    CHECK((catchable_signals | uncatchable_signals) == valid_signals());
    static_assert((blockable_signals & (crash_signals | uncatchable_signals)).empty());
    CHECK(blockable_signals.size() == valid_signals().size() - 9);
}
