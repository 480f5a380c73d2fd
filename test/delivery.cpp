// SPDX-License-Identifier: MIT
#include "support/catch.hpp"

#include <tocsin/delivery.hpp>

#include <type_traits>

using namespace tocsin;

namespace {
siginfo_t from_process(int code) {
    siginfo_t info{};
    info.si_code = code;
    info.si_pid = 4711;
    info.si_uid = 12;
    return info;
}
}  // namespace

TEST_CASE("a signal from kill names its sender and carries no value", "[delivery]") {
    int const code = GENERATE(int{SI_USER}, int{SI_TKILL});
    siginfo_t info = from_process(code);
    info.si_value.sival_int = 99;
    delivery const d{SIGUSR1, info};
    CHECK(d.signal() == SIGUSR1);
    CHECK(d.code() == code);
    CHECK(d.pid() == 4711);
    CHECK(d.uid() == 12);
    CHECK(d.value() == 0);
    CHECK(d.address() == nullptr);
    CHECK(d.merged() == 1);
    CHECK(d.context() == nullptr);
}

TEST_CASE("a queued signal carries its value as number and pointer", "[delivery]") {
    siginfo_t info = from_process(SI_QUEUE);
    info.si_value.sival_int = -7;
    CHECK(delivery{SIGUSR2, info}.value() == -7);
    int object = 0;
    info.si_value.sival_ptr = &object;
    CHECK(delivery{SIGUSR2, info}.pointer() == &object);
    CHECK(delivery{SIGUSR2, info}.pid() == 4711);
}

TEST_CASE("a timer's value is there and its sender is not", "[delivery]") {
    siginfo_t info{};
    info.si_code = SI_TIMER;
    info.si_value.sival_int = 5;
    delivery const d{SIGRTMIN, info};
    CHECK(d.value() == 5);
    CHECK(d.pid() == 0);
    CHECK(d.uid() == 0);
}

TEST_CASE("a true fault has an address, a sent one has a sender", "[delivery]") {
    int here = 0;
    siginfo_t info{};
    info.si_code = SEGV_MAPERR;
    info.si_addr = &here;
    delivery const fault{SIGSEGV, info};
    CHECK(fault.is_from_processor());
    CHECK(fault.address() == &here);
    CHECK(fault.pid() == 0);

    delivery const sent{SIGSEGV, from_process(SI_USER)};
    CHECK_FALSE(sent.is_from_processor());
    CHECK(sent.address() == nullptr);
    CHECK(sent.pid() == 4711);

    info.si_code = SI_KERNEL;
    CHECK(delivery{SIGSEGV, info}.address() == nullptr);
}

TEST_CASE("a child's change of state names the child and its status", "[delivery]") {
    siginfo_t info = from_process(CLD_EXITED);
    info.si_status = 3;
    delivery const d{SIGCHLD, info};
    CHECK(d.pid() == 4711);
    CHECK(d.status() == 3);
    siginfo_t const sent = from_process(SI_USER);
    CHECK(delivery{SIGCHLD, sent}.status() == 0);
}

TEST_CASE("merged answers with a copy that stands for more", "[delivery]") {
    delivery const d{SIGHUP};
    CHECK(d.merged(5).merged() == 5);
    CHECK(d.merged(5).signal() == SIGHUP);
    CHECK(d.merged() == 1);
}

TEST_CASE("an empty delivery answers zero to everything", "[delivery]") {
    delivery const d;
    CHECK(d.signal() == 0);
    CHECK(d.code() == 0);
    CHECK(d.pid() == 0);
    CHECK(d.value() == 0);
    CHECK(d.pointer() == nullptr);
    CHECK(d.address() == nullptr);
    static_assert(std::is_trivially_copyable_v<delivery>);
}
