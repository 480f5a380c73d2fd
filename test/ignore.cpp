// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/guard.hpp>
#include <tocsin/ignore.hpp>
#include <tocsin/wake.hpp>

#include <sys/resource.h>

using namespace tocsin;
using namespace tocsin::test;

TEST_CASE("an ignored signal does nothing while the guard lives, and is as before afterwards", "[ignore]") {
    auto process = child::run([] {
        {
            guard signals{on<SIGTERM, SIGUSR1, rt<1>>(ignore)};
            require_in_child(action_of(SIGTERM).sa_handler == SIG_IGN);
            ::raise(SIGTERM);
            ::raise(SIGUSR1);
            ::raise(rt<1>);
            say("lives");
        }
        require_in_child(action_of(SIGUSR1).sa_handler == SIG_DFL);
        ::raise(SIGTERM);
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.killed_by(SIGTERM));
    CHECK(result.out == "lives\n");
}

TEST_CASE("a write into a broken pipe fails instead of killing", "[ignore]") {
    in_child([] {
        guard signals{on<SIGPIPE>(ignore)};
        int ends[2];
        require_in_child(::pipe(ends) == 0);
        ::close(ends[0]);
        require_in_child(::write(ends[1], "x", 1) == -1 && errno == EPIPE);
    });
}

TEST_CASE("a file that grows too large fails instead of killing", "[ignore]") {
    in_child([] {
        guard signals{on<SIGXFSZ>(ignore)};
        rlimit const limit{1, 1};
        char path[] = "/tmp/tocsin-XXXXXX";
        int const fd = ::mkstemp(path);
        ::unlink(path);
        ::setrlimit(RLIMIT_FSIZE, &limit);
        require_in_child(::write(fd, "xx", 2) == 1);
        require_in_child(::write(fd, "xx", 2) == -1 && errno == EFBIG);
    });
}

TEST_CASE("an executed program does not inherit an ignored SIGPIPE or SIGXFSZ", "[ignore]") {
    auto process = child::run([] {
        guard signals{on<SIGPIPE, SIGXFSZ>(ignore), on<SIGHUP>(ignore)};
        ::execlp("grep", "grep", "SigIgn", "/proc/self/status", nullptr);
    });
    auto const& result = process.wait();
    INFO(result.describe());
    REQUIRE(result.out.size() > 8);
    unsigned long long const ignored = std::strtoull(result.out.c_str() + 7, nullptr, 16);
    CHECK_FALSE(has_signal(ignored, SIGPIPE));
    CHECK_FALSE(has_signal(ignored, SIGXFSZ));
    CHECK(has_signal(ignored, SIGHUP));
}

TEST_CASE("a default disposition row makes a handled signal the kernel's again", "[ignore]") {
    auto process = child::run([] {
        ::signal(SIGTERM, SIG_IGN);
        {
            guard signals{on<SIGTERM>(default_disposition)};
            require_in_child(action_of(SIGTERM).sa_handler == SIG_DFL);
        }
        require_in_child(action_of(SIGTERM).sa_handler == SIG_IGN);
        guard signals{on<SIGTERM>(default_disposition)};
        ::raise(SIGTERM);
    });
    auto const& result = process.wait();
    INFO(result.describe());
    CHECK(result.killed_by(SIGTERM));
}

TEST_CASE("a default disposition after wake stops the process and lets it go on", "[ignore]") {
    auto process = child::run([] {
        guard signals{on<SIGTSTP>(wake, default_disposition)};
        for (int round = 0; round < 2; ++round) {
            ::raise(SIGTSTP);
            int seen = 0;
            for (delivery const& d : signals.take()) seen += d.signal() == SIGTSTP;
            require_in_child(seen == 1);
            say("went on");
        }
    });
    for (int round = 0; round < 2; ++round) {
        siginfo_t info{};
        REQUIRE(::waitid(P_PID, static_cast<id_t>(process.pid()), &info, WSTOPPED | WEXITED | WNOWAIT) == 0);
        INFO(round);
        REQUIRE(info.si_code == CLD_STOPPED);
        REQUIRE(::waitid(P_PID, static_cast<id_t>(process.pid()), &info, WSTOPPED) == 0);
        process.signal(SIGCONT);
        REQUIRE(process.expect_line("went on"));
    }
    CHECK(process.wait().exited(0));
}
