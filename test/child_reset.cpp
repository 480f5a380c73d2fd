// SPDX-License-Identifier: MIT
#include <tocsin/child_reset.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include <tocsin/guard.hpp>
#include <tocsin/ignore.hpp>
#include <tocsin/in_handler.hpp>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/refuse_call.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using test::child;
using test::in_child;
using test::require_in_child;

extern char** environ;

namespace {

char const* const print_masks[] = {"grep", "-E", "SigBlk|SigIgn", "/proc/self/status", nullptr};

void print_own_masks() {
    ::execvp("grep", const_cast<char**>(print_masks));
    ::_exit(127);
}

// A process with something of everything.
void make_a_mess() {
    ::signal(SIGHUP, SIG_IGN);
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGRTMIN + 1, SIG_IGN);
    test::block_signal(SIGTERM);
    test::block_signal(SIGRTMIN + 2);
}

// Without what libc keeps for itself: its posix_spawn leaves those ignored.
struct masks {
    signal_set blocked;
    signal_set ignored;

    bool operator==(masks const&) const = default;
};

masks masks_in(std::string const& text) {
    unsigned long long blocked = ~0ULL;
    unsigned long long ignored = ~0ULL;
    CHECK(std::sscanf(text.c_str(), "SigBlk: %llx SigIgn: %llx", &blocked, &ignored) == 2);
    return {signal_set::of_bits(blocked) & valid_signals(), signal_set::of_bits(ignored) & valid_signals()};
}

masks masks_of(child subject) {
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    return masks_in(end.out);
}

int last_seen = 0;

}  // namespace

TEST_CASE("a child starts its program with defaults and an empty mask", "[child_reset]") {
    CHECK((masks_of(child::run([] {
               make_a_mess();
               if (child_reset() == 0) print_own_masks();
           })) == masks{}));
}

TEST_CASE("a child starts with what it is told to ignore and block", "[child_reset]") {
    signal_set const ignored{SIGHUP, SIGINT};
    signal_set const blocked{SIGUSR1, rt<2>};
    CHECK((masks_of(child::run([&] {
               make_a_mess();
               if (child_reset(ignored, blocked | uncatchable_signals) == 0) print_own_masks();
           })) == masks{blocked, ignored}));
}

TEST_CASE("it works after vfork, and the parent keeps what it has", "[child_reset]") {
    CHECK((masks_of(child::run([] {
               make_a_mess();
               guard signals{
                   on<SIGUSR1>(in_handler([](delivery const&) noexcept { last_seen = last_seen + 1; }))};
               auto const before = test::action_of(SIGUSR1);
               pid_t const made = ::vfork();
               if (made == 0) {
                   if (child_reset() != 0) ::_exit(1);
                   print_own_masks();
               }
               int status = 0;
               require_in_child(::waitpid(made, &status, 0) == made && status == 0);
               require_in_child(test::same_action(before, test::action_of(SIGUSR1)));
               require_in_child(test::action_of(SIGHUP).sa_handler == SIG_IGN);
               ::raise(SIGUSR1);
               require_in_child(last_seen == 1);
           })) == masks{}));
}

TEST_CASE("no handler of the parent runs in the child after it", "[child_reset]") {
    in_child([] {
        auto const loud = test::make_action([](int) { ::_exit(77); });
        ::sigaction(SIGTERM, &loud, nullptr);
        int const status = test::status_of_fork([] {
            child_reset();
            ::raise(SIGTERM);
        });
        require_in_child(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    });
}

TEST_CASE("what was pending meets the default", "[child_reset]") {
    in_child([] {
        int const status = test::status_of_fork([] {
            test::block_signal(SIGUSR1);
            ::raise(SIGUSR1);
            child_reset();
        });
        require_in_child(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
    });
}

TEST_CASE("libc's own signals are left alone", "[child_reset]") {
    in_child([] {
        // the first cancellation installs its handler
        pthread_t thread;
        ::pthread_create(
            &thread, nullptr, [](void*) -> void* { return ::pause(), nullptr; }, nullptr);
        ::pthread_cancel(thread);
        ::pthread_join(thread, nullptr);
        auto const caught = test::status_mask(::getpid(), "SigCgt:");
        require_in_child(test::has_signal(caught, 32));
        require_in_child(child_reset() == 0);
        require_in_child(test::status_mask(::getpid(), "SigCgt:") == 1ULL << 31 ||
                         test::has_signal(test::status_mask(::getpid(), "SigCgt:"), 32));
    });
}

TEST_CASE("posix_spawn starts a program with clean signals", "[child_reset]") {
    auto const spawn = [](spawn_attributes const& with) {
        pid_t made = 0;
        require_in_child(::posix_spawnp(&made, "grep", nullptr, with.native(),
                                        const_cast<char**>(print_masks), environ) == 0);
        int status = 0;
        require_in_child(::waitpid(made, &status, 0) == made && status == 0);
        require_in_child(test::action_of(SIGHUP).sa_handler == SIG_IGN);
    };
    CHECK((masks_of(child::run([&] {
               make_a_mess();
               spawn(spawn_attributes{});
           })) == masks{}));
    signal_set const kept{SIGHUP, SIGINT};
    CHECK((masks_of(child::run([&] {
               make_a_mess();
               spawn(spawn_attributes{kept, signal_set{SIGUSR2, rt<7>}});
           })) == masks{signal_set{SIGUSR2, rt<7>}, signal_set{SIGHUP}}));
}

TEST_CASE("a spawned child can have a process group of its own", "[child_reset]") {
    in_child([] {
        char const* const arguments[] = {"sh", "-c", "read x", nullptr};
        spawn_attributes with;
        with.in_group();
        pid_t made = 0;
        require_in_child(
            ::posix_spawnp(&made, "sh", nullptr, with.native(), const_cast<char**>(arguments), environ) == 0);
        require_in_child(::getpgid(made) == made);
        ::kill(-made, SIGKILL);
        int status = 0;
        require_in_child(::waitpid(made, &status, 0) == made && WTERMSIG(status) == SIGKILL);
    });
}

TEST_CASE("attributes refuse what is no signal", "[child_reset]") {
    CHECK_THROWS_AS(spawn_attributes(signal_set{0}), error);
    CHECK_THROWS_AS(spawn_attributes(signal_set{}, signal_set{65}), error);
}

TEST_CASE("what a filter refuses is told, after all that can be done has been done", "[child_reset]") {
    in_child([] {
        test::block_signal(SIGUSR1);
        test::refuse_call(SYS_rt_sigaction, EPERM);
        require_in_child(child_reset() == EPERM);
        require_in_child(!test::has_signal(test::status_mask(::getpid(), "SigBlk:"), SIGUSR1));
    });
    in_child([] {
        ::signal(SIGHUP, SIG_IGN);
        test::refuse_call(SYS_rt_sigprocmask, EACCES);
        require_in_child(child_reset() == EACCES && test::action_of(SIGHUP).sa_handler == SIG_DFL);
    });
}
