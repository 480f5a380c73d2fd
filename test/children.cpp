// SPDX-License-Identifier: MIT
#include "support/signals.hpp"

#include <tocsin/children.hpp>
#include <tocsin/defer.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>

#include <sys/wait.h>

#include <cerrno>
#include <utility>
#include <vector>

using namespace tocsin;
using namespace tocsin::test;

namespace {

template <class F>
pid_t fork_child(F f) {
    pid_t const made = ::fork();
    if (made == 0) {
        f();
        ::_exit(0);
    }
    return made;
}

pid_t child_that_exits(int code) {
    return fork_child([code] { ::_exit(code); });
}

pid_t child_that_waits() {
    return fork_child([] {
        for (;;) ::pause();
    });
}

}  // namespace

TEST_CASE("a child is reaped with what became of it", "[children]") {
    in_child([] {
        child_watch exits{child_that_exits(7)};
        wait_readable(exits.fd());
        child_end const end = exits.reap();
        require_in_child(end && end.exited() && end.code() == 7 && end.signal() == 0 && end.pid() == exits.pid());
        // the answer stays
        require_in_child(exits.reap().code() == 7 && exits.wait().code() == 7 && exits.is_reaped());

        child_watch waits{child_that_waits()};
        require_in_child(!waits.reap() && !waits.look() && !readable(waits.fd()) && waits.send(SIGTERM));
        child_end const killed = waits.wait();
        require_in_child(killed.signal() == SIGTERM && !killed.exited() && killed.code() == -1);
        require_in_child(!waits.send(SIGTERM));
    });
}

TEST_CASE("the status of other children stays theirs", "[children]") {
    in_child([] {
        pid_t const other = child_that_exits(3);
        child_watch mine{child_that_exits(4)};
        require_in_child(mine.wait().code() == 4);
        siginfo_t info{};
        require_in_child(::waitid(P_PID, static_cast<id_t>(other), &info, WEXITED) == 0 && info.si_status == 3);
    });
}

TEST_CASE("a look leaves the status where it is", "[children]") {
    in_child([] {
        pid_t const made = child_that_exits(5);
        child_watch watch{made};
        wait_readable(watch.fd());
        require_in_child(watch.look().code() == 5 && watch.look().code() == 5 && !watch.is_reaped());
        int status = 0;
        require_in_child(::waitpid(made, &status, 0) == made && WEXITSTATUS(status) == 5);
        // somebody else was faster
        child_end const lost = watch.reap();
        require_in_child(lost && lost.was_lost() && lost.code() == -1 && lost.signal() == 0);
    });
}

TEST_CASE("one signal for several children is enough to reap them all", "[children]") {
    in_child([] {
        std::vector<child_watch> children;
        std::vector<int> codes;
        guard signals{on<SIGCHLD>(defer([&] {
                          reap_each(children, [&](child_watch&, child_end const& end) { codes.push_back(end.code()); });
                      })).without_stops()};
        pid_t const other = child_that_exits(99);
        block_signal(SIGCHLD);
        for (int i = 0; i < 5; ++i) children.emplace_back(child_that_exits(i));
        for (child_watch& each : children) wait_readable(each.fd());
        block_signal(SIGCHLD, SIG_UNBLOCK);
        until([&] {
            signals.check();
            return codes.size() == 5;
        });
        require_in_child(codes == std::vector<int>{0, 1, 2, 3, 4});
        require_in_child(reap_each(children, [](child_watch&, child_end const&) {}) == 0);
        int status = 0;
        require_in_child(::waitpid(other, &status, 0) == other && WEXITSTATUS(status) == 99);
    });
}

TEST_CASE("a child is reaped by its number alone, and no other is", "[children]") {
    in_child([] {
        pid_t const waits = child_that_waits();
        pid_t const exits = child_that_exits(6);
        require_in_child(!reap(waits));
        child_end end;
        until([&] { return static_cast<bool>(end = reap(exits)); });
        require_in_child(end.code() == 6 && reap(exits).was_lost());
        require_in_child(!reap(0) && !reap(-1));  // these would be any child
        ::kill(waits, SIGKILL);
        until([&] { return static_cast<bool>(end = reap(waits)); });
        require_in_child(end.signal() == SIGKILL);
    });
}

TEST_CASE("a watch moves, and closes its descriptor", "[children]") {
    in_child([] {
        unsigned const before = descriptors();
        {
            child_watch first{child_that_exits(1)};
            child_watch second{std::move(first)};
            child_watch third{child_that_exits(2)};
            third = std::move(second);
            require_in_child(third.wait().code() == 1);
            require_in_child((::fcntl(third.fd(), F_GETFD) & FD_CLOEXEC) != 0);
        }
        require_in_child(descriptors() == before);
    });
}

TEST_CASE("a process that is not there cannot be watched", "[children]") {
    in_child([] {
        pid_t const gone = child_that_exits(0);
        ::waitpid(gone, nullptr, 0);
        int ec = 0;
        child_watch const none{ec, gone};
        require_in_child(ec == ESRCH && !none.look() && !none.send(0));
        bool refused = false;
        try {
            child_watch const negative{-1};
        } catch (error const& e) {
            refused = e.code() == EINVAL;
        }
        require_in_child(refused);
    });
}
