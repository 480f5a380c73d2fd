// SPDX-License-Identifier: MIT
#include <tocsin/in_signal/describe.hpp>

#include <string>

#include "support/catch.hpp"

using tocsin::in_signal::reason_of;
using tocsin::in_signal::reasons;

TEST_CASE("the kernel's reason is told in words", "[describe]") {
    CHECK(std::string{reason_of(SIGSEGV, SEGV_MAPERR)} == "address not mapped");
    CHECK(std::string{reason_of(SIGBUS, BUS_ADRERR)} == "no memory behind this address");
    CHECK(std::string{reason_of(SIGFPE, FPE_INTDIV)} == "integer divided by zero");
    CHECK(std::string{reason_of(SIGILL, ILL_ILLOPN)} == "illegal operand");
    CHECK(std::string{reason_of(SIGTRAP, TRAP_BRKPT)} == "breakpoint");
}

TEST_CASE("one number means another thing with another signal", "[describe]") {
    CHECK(std::string{reason_of(SIGSEGV, 1)} != reason_of(SIGFPE, 1));
    CHECK(std::string{reason_of(SIGTERM, 1)}.empty());
    CHECK(std::string{reason_of(SIGCHLD, CLD_EXITED)}.empty());
}

TEST_CASE("what the kernel sends without an address says so for faults only", "[describe]") {
    CHECK(std::string{reason_of(SIGSEGV, SI_KERNEL)} == "by the kernel, which does not know the address");
    CHECK(std::string{reason_of(SIGQUIT, SI_KERNEL)} == "by the kernel");
}

TEST_CASE("signals of timers and queues are told from those that somebody sent", "[describe]") {
    CHECK(std::string{reason_of(SIGUSR1, SI_TIMER)} == "by a timer");
    CHECK(std::string{reason_of(SIGUSR1, SI_MESGQ)} == "by a message queue");
    CHECK(std::string{reason_of(SIGIO, SI_ASYNCIO)} == "by asynchronous input or output");
    for (int const code : {SI_USER, SI_QUEUE, SI_TKILL}) CHECK(std::string{reason_of(SIGSEGV, code)}.empty());
}

TEST_CASE("no reason is listed twice, and all are printable", "[describe]") {
    for (auto const& one : reasons) {
        CHECK(std::string{reason_of(one.signal, one.code)} == one.text);
        for (char const* c = one.text; *c != '\0'; ++c) CHECK((*c >= ' ' && *c <= '~'));
    }
}
