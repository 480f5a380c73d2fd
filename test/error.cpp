// SPDX-License-Identifier: MIT
#include "support/catch.hpp"

#include <tocsin/error.hpp>

#include <string>
#include <type_traits>

using namespace tocsin;

TEST_CASE("an error says the call, the signal and the reason in one line", "[error]") {
    error const e{EINVAL, "sigaction", SIGUSR1};
    CHECK(std::string{e.what()} == "tocsin: sigaction(SIGUSR1): Invalid argument");
    CHECK(e.code() == EINVAL);
    CHECK(e.signal() == SIGUSR1);
    CHECK(std::string{e.call()} == "sigaction");
}

TEST_CASE("a number that is no signal is named as a number", "[error]") {
    CHECK(std::string{error{EINVAL, "sigaction", 32}.what()} == "tocsin: sigaction(signal 32): Invalid argument");
}

TEST_CASE("an error that belongs to no signal names only the call", "[error]") {
    CHECK(std::string{error{EMFILE, "eventfd", 0}.what()} == "tocsin: eventfd: Too many open files");
}

TEST_CASE("an error is caught as a std::exception and keeps its text when copied", "[error]") {
    static_assert(std::is_nothrow_copy_constructible_v<error>);
    try {
        throw error{EPERM, "rt_sigaction", SIGHUP};
    } catch (std::exception const& e) {
        CHECK(std::string{e.what()}.find("SIGHUP") != std::string::npos);
    }
}

TEST_CASE("a failure with errno 0 is none", "[error]") {
    CHECK_FALSE(failure{});
    CHECK(failure{EAGAIN, "fork", 0});
}
