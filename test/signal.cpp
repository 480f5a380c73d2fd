// SPDX-License-Identifier: MIT
#include "support/catch.hpp"

#include <tocsin/signal.hpp>

#include <climits>
#include <string>
#include <string_view>

using namespace tocsin;

TEST_CASE("every standard signal has a name that leads back to it", "[signal]") {
    for (int number = 1; number <= 31; ++number) {
        INFO(number);
        CHECK_FALSE(name(number).empty());
        CHECK(parse(name(number)) == number);
        CHECK(parse(name(number).c_str() + 3) == number);
    }
    CHECK(name(SIGTERM) == "SIGTERM");
    CHECK(name(SIGABRT) == "SIGABRT");
}

TEST_CASE("real-time signals are named by their distance from SIGRTMIN", "[signal]") {
    CHECK(name(SIGRTMIN) == "SIGRTMIN");
    CHECK(name(rt<3>) == "SIGRTMIN+3");
    CHECK(rt<3> == SIGRTMIN + 3);
    for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) CHECK(parse(name(number)) == number);
    CHECK(parse("RTMIN+3") == SIGRTMIN + 3);
    CHECK(parse("SIGRTMAX-1") == SIGRTMAX - 1);
    CHECK(parse("RTMAX") == SIGRTMAX);
}

TEST_CASE("what is no signal has no name and is not parsed", "[signal]") {
    int const number = GENERATE(0, -1, 32, 33, 65, 128, INT_MAX, INT_MIN);
    INFO(number);
    CHECK(name(number).empty());
    CHECK_FALSE(can_be_caught(number));
    CHECK_FALSE(is_fault(number));
}

TEST_CASE("text that names no signal gives nothing", "[signal]") {
    char const* const text = GENERATE("?", "", "SIG", "term", "SIGTERMX", "SIGTER", "0", "-1", "32", "33", "65", "015x",
                                      "99999999999", "RTMIN+", "RTMIN+31", "RTMIN-1", "RTMAX+1", "RTMAX-64", "RTM",
                                      "RTMINX", " TERM", "SIGSIGTERM");
    INFO(text);
    CHECK_FALSE(parse(text).has_value());
    CHECK(parse(text).value() == 0);
    CHECK_FALSE(parse(text) == 0);
}

TEST_CASE("text with a length is parsed as far as it goes", "[signal]") {
    std::string const owned{"RTMIN+3"};
    CHECK(parse(owned) == SIGRTMIN + 3);
    CHECK(parse(std::string_view{owned}.substr(0, 5)) == SIGRTMIN);
    CHECK(parse(std::string_view{"SIGTERM,SIGINT"}.substr(0, 7)) == SIGTERM);
    CHECK(parse(std::string_view{"15 "}.substr(0, 2)) == 15);
    CHECK(parse(std::string_view{"150"}.substr(0, 2)) == 15);
    CHECK_FALSE(parse(std::string_view{"TERM\0", 5}).has_value());
    CHECK_FALSE(parse(std::string_view{}).has_value());
    CHECK_FALSE(parse(static_cast<char const*>(nullptr)).has_value());
    static_assert(parse(std::string_view{"HUP"}) == SIGHUP);
}

TEST_CASE("every signal of the system has a description, and nothing else has", "[signal]") {
    for (int number = -1; number <= 66; ++number) {
        INFO(number);
        CHECK(describe(number).empty() == !(can_be_caught(number) || number == SIGKILL || number == SIGSTOP));
    }
    CHECK(describe(rt<3>) == "real-time signal 3");
    CHECK(describe(SIGRTMAX) == describe(SIGRTMIN + (SIGRTMAX - SIGRTMIN)));
    static_assert(describe(SIGTERM) == "terminated");
    static_assert(describe(SIGSEGV) == "segmentation fault");
    static_assert(describe(SIGCHLD) == "child changed its state");
}

TEST_CASE("numbers and second names are understood", "[signal]") {
    CHECK(parse("15") == SIGTERM);
    CHECK(parse("64") == 64);
    CHECK(parse("IOT") == SIGABRT);
    CHECK(parse("SIGCLD") == SIGCHLD);
    CHECK(*parse("POLL") == SIGIO);
    CHECK(parse("KILL") == SIGKILL);
}

TEST_CASE("names are constants and convert to views and strings", "[signal]") {
    static_assert(name(SIGTERM) == "SIGTERM");
    static_assert(parse("SIGTERM") == SIGTERM);
    std::string_view const view = name(SIGHUP);
    CHECK(view == "SIGHUP");
    CHECK(std::string{name(SIGHUP).c_str()} == "SIGHUP");
    CHECK(name(SIGHUP).size() == 6);
}

TEST_CASE("what can be caught leaves out SIGKILL, SIGSTOP and what libc keeps", "[signal]") {
    CHECK(can_be_caught(1));
    CHECK(can_be_caught(31));
    CHECK_FALSE(can_be_caught(SIGKILL));
    CHECK_FALSE(can_be_caught(SIGSTOP));
    CHECK_FALSE(can_be_caught(SIGRTMIN - 1));
    CHECK(can_be_caught(SIGRTMIN));
    CHECK(can_be_caught(SIGRTMAX));
}

TEST_CASE("the faults are the six of the processor and SIGABRT", "[signal]") {
    int faults = 0;
    for (int number = 1; number < 65; ++number) faults += is_fault(number);
    CHECK(faults == 7);
    for (int const number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT}) CHECK(is_fault(number));
}
