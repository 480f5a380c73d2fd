// SPDX-License-Identifier: MIT
// A system call that the kernel refuses from now on, as a sandbox would.
//
// Runs on any ordinary thread of a child: what is refused stays refused for the process's life.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cstddef>
#include <initializer_list>
#include <vector>

#include "support/child.hpp"

namespace tocsin::test {

inline void filter_call(long number, unsigned answer) {
    sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(offsetof(seccomp_data, nr))),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(number), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, answer),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog const program{sizeof rules / sizeof rules[0], rules};
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    require_in_child(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

inline void refuse_call(long number, int code) {
    filter_call(number, SECCOMP_RET_ERRNO | static_cast<unsigned>(code));
}
// Answers it with SIGSYS.
inline void trap_call(long number) { filter_call(number, SECCOMP_RET_TRAP); }

// Answers all but these with SIGSYS: a sandbox that lists what is allowed.
inline void trap_all_but(std::initializer_list<long> allowed) {
    std::vector<sock_filter> rules{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(offsetof(seccomp_data, nr)))};
    for (long const number : allowed) {
        rules.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(number), 0, 1));
        rules.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    }
    rules.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP));
    sock_fprog const program{static_cast<unsigned short>(rules.size()), rules.data()};
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    require_in_child(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

}  // namespace tocsin::test
