// SPDX-License-Identifier: MIT
#include <tocsin/posix/mask.hpp>

#include "support/catch.hpp"

using tocsin::posix::mask;
using tocsin::posix::signals_in;

namespace {

sigset_t current() {
    sigset_t now;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
    return now;
}

bool blocked(int signal) {
    sigset_t const now = current();
    return ::sigismember(&now, signal) == 1;
}

}  // namespace

TEST_CASE("a set remembers the first number that is no signal", "[mask]") {
    signals_in set;
    set.add(SIGTERM);
    CHECK(set.invalid() == 0);
    set.add(65);
    set.add(-1);
    CHECK(set.invalid() == 65);
    CHECK(::sigismember(&set.native(), SIGTERM) == 1);
    CHECK(::sigismember(&set.native(), SIGINT) == 0);
}

TEST_CASE("a mask blocks its set and gives back what was there", "[mask]") {
    signals_in set;
    set.add(SIGUSR1);
    {
        mask const here{set};
        CHECK_FALSE(here.refused());
        CHECK(blocked(SIGUSR1));
    }
    CHECK_FALSE(blocked(SIGUSR1));
}

TEST_CASE("a set with a number that is no signal is refused, and the mask is as before", "[mask]") {
    int const number = GENERATE(0, -1, 65, 1 << 30);
    signals_in set;
    set.add(SIGUSR1);
    if (number == 0)
        set.add(1000);
    else
        set.add(number);
    {
        mask const here{set};
        CHECK(here.refused());
        CHECK(here.refused().errno_code == EINVAL);
        CHECK(here.refused().signal == (number == 0 ? 1000 : number));
        CHECK_FALSE(blocked(SIGUSR1));
    }
    CHECK_FALSE(blocked(SIGUSR1));
}
