// SPDX-License-Identifier: MIT
// What tests of guards need over and over: a child that must succeed, and looks at a process from outside.
//
// Runs on any ordinary thread of a test program or its children.
#pragma once

#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "support/catch.hpp"
#include "support/child.hpp"

namespace tocsin::test {

// The child ends with 0.
inline void expect_success(child&& one, milliseconds deadline = patience) {
    outcome const& result = one.wait(deadline);
    INFO(result.describe());
    CHECK(result.exited(0));
}

// Runs f in a child that starts as a fresh process; the test goes on if it ends with 0.
template <class F>
void in_child(F f, milliseconds deadline = patience) {
    expect_success(child::run(std::move(f)), deadline);
}

// Stops the child, lets time pass that must not count, and lets it go on.
inline void stop_for(child& one, milliseconds time) {
    one.signal(SIGSTOP);
    siginfo_t info{};
    REQUIRE(::waitid(P_PID, static_cast<id_t>(one.pid()), &info, WSTOPPED) == 0);
    ::poll(nullptr, 0, static_cast<int>(time.count()));
    one.signal(SIGCONT);
}

// ThreadSanitizer keeps a signal back until the thread makes a call that it knows, and not before a blocking one ends.
#if defined(__SANITIZE_THREAD__)
inline constexpr bool signals_come_late = true;
#elif defined(__has_feature)
inline constexpr bool signals_come_late = __has_feature(thread_sanitizer);
#else
inline constexpr bool signals_come_late = false;
#endif

template <class F>
void in_prompt_child(F f) {
    if (signals_come_late)
        WARN("left out: ThreadSanitizer delivers signals late");
    else
        in_child(f);
}

// Waits for a condition that another thread or process brings about. In a child; ends it with 96 if nobody does.
template <class Condition>
void until(Condition condition, char const* file = __builtin_FILE(), int line = __builtin_LINE()) {
    auto const end = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) {
            ::dprintf(STDERR_FILENO, "%s:%d: waited in vain\n", file, line);
            ::_exit(96);
        }
        ::sched_yield();
    }
}

inline bool readable(int fd) {
    pollfd asked{fd, POLLIN, 0};
    return ::poll(&asked, 1, 0) == 1;
}

inline void wait_readable(int fd) {
    pollfd asked{fd, POLLIN, 0};
    while (::poll(&asked, 1, static_cast<int>(patience.count())) < 0 && errno == EINTR) {
    }
    require_in_child((asked.revents & POLLIN) != 0);
}

// The kernel counts queued signals by user: a process that will be flooded keeps its senders to a quarter, or timers
// and cancellations of the tests beside it would be refused.
inline void spare_the_queue() {
    rlimit limit{};
    ::getrlimit(RLIMIT_SIGPENDING, &limit);
    limit.rlim_cur /= 4;
    require_in_child(::setrlimit(RLIMIT_SIGPENDING, &limit) == 0);
}

// A queued signal to a process; waits while the kernel's queue is full.
inline void queue_value(pid_t to, int number, int value) {
    sigval word{};
    word.sival_int = value;
    while (::sigqueue(to, number, word) != 0) {
        if (errno != EAGAIN) ::_exit(95);
        ::sched_yield();
    }
}

inline unsigned entries_of(char const* path) {
    unsigned count = 0;
    DIR* const folder = ::opendir(path);
    while (dirent const* const entry = ::readdir(folder)) count += entry->d_name[0] != '.';
    ::closedir(folder);
    return count;
}
// Both count the one that looking needs, or the looking thread.
inline unsigned descriptors() { return entries_of("/proc/self/fd"); }
inline unsigned threads() { return entries_of("/proc/self/task"); }

// A mask from /proc/PID/status, such as "SigBlk:" or "SigIgn:"; signal 1 is the lowest bit.
inline unsigned long long status_mask(pid_t process, std::string const& field) {
    std::FILE* const file = std::fopen(("/proc/" + std::to_string(process) + "/status").c_str(), "r");
    if (file == nullptr) return ~0ULL;
    char line[256];
    unsigned long long mask = ~0ULL;
    while (std::fgets(line, sizeof line, file) != nullptr)
        if (std::string{line}.rfind(field, 0) == 0) mask = std::strtoull(line + field.size(), nullptr, 16);
    std::fclose(file);
    return mask;
}
inline bool has_signal(unsigned long long mask, int number) { return (mask >> (number - 1) & 1) != 0; }

inline struct sigaction action_of(int number) {
    struct sigaction now {};
    ::sigaction(number, nullptr, &now);
    return now;
}

inline bool same_mask(sigset_t const& left, sigset_t const& right) {
    for (int number = 1; number < NSIG; ++number)
        if (::sigismember(&left, number) != ::sigismember(&right, number)) return false;
    return true;
}
inline bool same_action(struct sigaction const& left, struct sigaction const& right) {
    return left.sa_handler == right.sa_handler && left.sa_flags == right.sa_flags &&
           same_mask(left.sa_mask, right.sa_mask);
}

inline struct sigaction make_action(void (*handler)(int), int flags = 0) {
    struct sigaction made {};
    made.sa_handler = handler;
    made.sa_flags = flags;
    return made;
}
inline struct sigaction make_action(void (*handler)(int, siginfo_t*, void*), int flags = 0) {
    struct sigaction made {};
    made.sa_sigaction = handler;
    made.sa_flags = flags | SA_SIGINFO;
    return made;
}

// Runs f in a fork and answers the wait status.
template <class F>
int status_of_fork(F f) {
    pid_t const made = ::fork();
    if (made == 0) {
        f();
        ::_exit(0);
    }
    int status = -1;
    while (::waitpid(made, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}
template <class F>
void require_fork(F f, char const* file = __builtin_FILE(), int line = __builtin_LINE()) {
    int const status = status_of_fork(f);
    require_in_child(WIFEXITED(status) && WEXITSTATUS(status) == 0, file, line);
}

inline void block_signal(int number, int how = SIG_BLOCK) {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, number);
    ::pthread_sigmask(how, &set, nullptr);
}

}  // namespace tocsin::test
