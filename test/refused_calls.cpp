// SPDX-License-Identifier: MIT
// The kernel refuses one system call of a guard's construction after the other, by a seccomp filter.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cstring>
#include <vector>

#include <tocsin/call.hpp>
#include <tocsin/dump.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/stop.hpp>
#include <tocsin/wake.hpp>

#include "support/signals.hpp"

using namespace tocsin;
using namespace tocsin::test;

namespace {

constexpr unsigned any_argument = ~0U;

// From now on the call fails with this errno in this process, if its argument number `position` is `argument`.
bool refuse(long call, int error, unsigned position = 0, unsigned argument = any_argument) {
    auto const offset = static_cast<unsigned>(offsetof(seccomp_data, args) + 8 * position);
    sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(call), 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset),
        BPF_JUMP(BPF_JMP | (argument == any_argument ? BPF_JGE : BPF_JEQ) | BPF_K,
                 argument == any_argument ? 0 : argument, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog const program{sizeof code / sizeof code[0], code};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

std::size_t entries_of(char const* folder) {
    DIR* const open = ::opendir(folder);
    std::size_t count = 0;
    while (open != nullptr && ::readdir(open) != nullptr) ++count;
    if (open != nullptr) ::closedir(open);
    return count;
}

// All that a failed guard must leave as it was.
struct surroundings {
    std::vector<struct sigaction> actions;
    sigset_t mask{};
    std::size_t descriptors = entries_of("/proc/self/fd");
    std::size_t threads = entries_of("/proc/self/task");

    surroundings() {
        ::sigprocmask(SIG_BLOCK, nullptr, &mask);
        for (int number = 1; number <= 64; ++number) {
            struct sigaction live {};
            ::sigaction(number, nullptr, &live);
            actions.push_back(live);
        }
    }
    bool operator==(surroundings const& other) const {
        for (std::size_t i = 0; i < actions.size(); ++i) {
            if (actions[i].sa_handler != other.actions[i].sa_handler) return false;
            if (actions[i].sa_flags != other.actions[i].sa_flags) return false;
        }
        return descriptors == other.descriptors && threads == other.threads &&
               std::memcmp(&mask, &other.mask, sizeof mask) == 0;
    }
};

// Builds a guard with rows of every kind and expects this error.
void expect_refusal(int code, char const* refused_call, int signal) {
    surroundings const before;
    bool refused = false;
    try {
        guard const all{on<SIGUSR1>(wake), on<SIGHUP>(call([] {})), on<SIGTERM>(request_stop),
                        on_crash<SIGSEGV>(dump_threads), on<SIGUSR2>(wake)};
    } catch (error const& e) {
        refused = e.code() == code && std::strcmp(e.call(), refused_call) == 0 && e.signal() == signal &&
                  std::strstr(e.what(), refused_call) != nullptr;
        if (!refused) ::dprintf(2, "%s\n", e.what());
    }
    require_in_child(refused);
    require_in_child(before == surroundings{});
}

}  // namespace

TEST_CASE("a refused sigaction names the signal, and the rows before it are taken back", "[refused_calls]") {
    in_child([] {
        require_in_child(refuse(SYS_rt_sigaction, EPERM, 0, SIGUSR2));
        expect_refusal(EPERM, "sigaction", SIGUSR2);
    });
}

TEST_CASE("a refused eventfd leaves nothing behind", "[refused_calls]") {
    in_child([] {
        require_in_child(refuse(SYS_eventfd2, EMFILE));
        expect_refusal(EMFILE, "eventfd", 0);
    });
}

TEST_CASE("a refused alternate stack leaves nothing behind", "[refused_calls]") {
    in_child([] {
        require_in_child(refuse(SYS_sigaltstack, EPERM));
        expect_refusal(EPERM, "sigaltstack", 0);
    });
}

TEST_CASE("a refused duplicate of the report's descriptor leaves nothing behind", "[refused_calls]") {
    in_child([] {
        require_in_child(refuse(SYS_fcntl, EMFILE, 1, F_DUPFD_CLOEXEC));
        expect_refusal(EMFILE, "fcntl(F_DUPFD_CLOEXEC)", 0);
    });
}

TEST_CASE("a refused thread leaves nothing behind", "[refused_calls]") {
    in_child([] {
        require_in_child(refuse(SYS_clone3, ENOSYS));
        require_in_child(refuse(SYS_clone, EAGAIN));
        expect_refusal(EAGAIN, "pthread_create", 0);
    });
}
