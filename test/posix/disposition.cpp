// SPDX-License-Identifier: MIT
#include <tocsin/posix/disposition.hpp>

#include <climits>
#include <string>

#include "support/catch.hpp"

using tocsin::posix::disposition_guard;

namespace {

void first(int) {}
void second(int, siginfo_t*, void*) {}

struct sigaction action_of(void (*handler)(int), int flags) {
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigaddset(&action.sa_mask, SIGWINCH);
    return action;
}

struct sigaction live_of(int signal) {
    struct sigaction live {};
    sigaction(signal, nullptr, &live);
    return live;
}

}  // namespace

TEST_CASE("what was there comes back whole", "[disposition]") {
    struct sigaction const wanted = action_of(first, SA_RESTART | SA_NODEFER);
    sigaction(SIGUSR2, &wanted, nullptr);
    {
        struct sigaction other {};
        other.sa_sigaction = second;
        other.sa_flags = SA_SIGINFO;
        disposition_guard const here{SIGUSR2, other};
        CHECK(live_of(SIGUSR2).sa_sigaction == second);
        CHECK(here.before().sa_handler == first);
    }
    struct sigaction const after = live_of(SIGUSR2);
    CHECK(after.sa_handler == first);
    CHECK((after.sa_flags & (SA_RESTART | SA_NODEFER | SA_SIGINFO)) == (SA_RESTART | SA_NODEFER));
    CHECK(sigismember(&after.sa_mask, SIGWINCH) == 1);
    ::signal(SIGUSR2, SIG_DFL);
}

TEST_CASE("what somebody else installed meanwhile stays", "[disposition]") {
    {
        disposition_guard const here{SIGUSR2, action_of(first, 0)};
        ::signal(SIGUSR2, SIG_IGN);
    }
    CHECK(live_of(SIGUSR2).sa_handler == SIG_IGN);
    ::signal(SIGUSR2, SIG_DFL);
}

TEST_CASE("a number that is no signal is refused by name of signal and call", "[disposition]") {
    int const number = GENERATE(0, -1, 32, 33, 65, INT_MAX, SIGKILL, SIGSTOP);
    bool refused = false;
    try {
        disposition_guard const here{number, action_of(first, 0)};
    } catch (tocsin::error const& e) {
        refused = true;
        CHECK(e.code() == EINVAL);
        CHECK(e.signal() == number);
        CHECK(std::string{e.call()} == "sigaction");
        CHECK(std::string{e.what()}.find("sigaction") != std::string::npos);
    }
    CHECK(refused);
}
