// SPDX-License-Identifier: MIT
// A child whose system calls are seen one by one, and of which one fails, or is interrupted by a signal.
//
// Runs on any ordinary thread of a test program. By seccomp_unotify(2): the child asks for each of its calls, and a
// thread of the parent lets it happen, answers an errno in its place, or sends the child a signal while it waits. What
// the child compares before and after lies in shared memory. Needs Linux 5.6 or later and leave to filter; where that
// is missing `can_supervise` says so.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <atomic>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include <tocsin/error.hpp>

#include "support/report_text.hpp"
#include "support/signals.hpp"

namespace tocsin::test {

// The signal that interrupts; no scenario uses it.
inline constexpr int interrupting_signal = SIGIO;

// All that construction and removal may not change.
struct process_state {
    struct sigaction actions[NSIG];
    sigset_t mask;
    stack_t stack;
    unsigned descriptors;
    unsigned own_threads;      // of the library, by their names
    unsigned foreign_threads;  // others; the main thread is one
    unsigned timers;           // of timer_create(2), where the kernel lists them

    // A thread that has just begun has its maker's name still, and one that ends lets go of what it had.
    void read_when_settled(process_state const& before) {
        for (int look = 0; look < 100; ++look) {
            read();
            if (foreign_threads <= before.foreign_threads && descriptors <= before.descriptors) return;
            timespec const moment{0, 2'000'000};
            ::nanosleep(&moment, nullptr);
        }
    }
    static unsigned names_of_others() {
        unsigned count = 0;
        for (auto const& each : names_in("/proc/self/task"))
            count += contents_of("/proc/self/task/" + each + "/comm").rfind("tocsin-", 0) != 0;
        return count;
    }
    void read() {
        std::memset(static_cast<void*>(this), 0, sizeof *this);
        for (int number = 1; number < NSIG; ++number) actions[number] = action_of(number);
        ::sigprocmask(SIG_BLOCK, nullptr, &mask);
        ::sigaltstack(nullptr, &stack);
        descriptors = test::descriptors();
        own_threads = static_cast<unsigned>(names_in("/proc/self/task").size() - names_of_others());
        foreign_threads = names_of_others();
        for (auto const& each : lines_of(contents_of("/proc/self/timers"))) timers += each.rfind("ID:", 0) == 0;
    }
};

enum class ending : int { none, built, refused, useless, other_exception };

// What the two processes share.
struct shared_page {
    std::atomic<int> listener{-1};
    std::atomic<bool> supervised{false};
    std::atomic<bool> armed{false};
    std::atomic<bool> done{false};
    std::atomic<int> interruptions{0};
    ending how = ending::none;
    int code = 0;
    char call[64] = {};
    char what[160] = {};
    process_state before;
    process_state after;
};

struct seen_call {
    long number;
    unsigned occurrence;  // of this call, from 0
    unsigned long arguments[6];
};

// What is to happen to one call: an errno in its place, or, with 0, a signal while it is under way.
struct injection {
    long number = -1;
    unsigned occurrence = 0;
    int error = 0;
    bool restart = false;  // SA_RESTART for the signal's handler
};

inline shared_page*& page_of_child() {
    static shared_page* page = nullptr;
    return page;
}

// What a scenario says of itself, in the child.
class life {
  public:
    explicit life(shared_page& page) : page_{page} {}

    void arm() { page_.armed = true; }
    void disarm() { page_.armed = false; }
    void works(bool it_does) {
        if (!it_does) page_.how = ending::useless;
    }

    // Makes a thing, looks whether it works, and removes it; all but the look is under supervision.
    template <class Make, class Works>
    void whole_life(Make make, Works does_work) {
        arm();
        {
            auto thing = make();
            disarm();
            works(does_work(thing));
            arm();
        }
        disarm();
    }
    template <class Make>
    void whole_life(Make make) {
        whole_life(make, [](auto&) { return true; });
    }

  private:
    shared_page& page_;
};

struct supervised_run {
    std::vector<seen_call> calls;  // of the main thread, while armed
    bool hit = false;
    outcome result;
    ending how = ending::none;
    int code = 0;
    std::string call;
    std::string what;
    process_state before;
    process_state after;
    int interruptions = 0;
};

namespace detail {

inline int seccomp(unsigned operation, unsigned flags, void* what) {
    return static_cast<int>(::syscall(SYS_seccomp, operation, flags, what));
}

// In the child: every call asks from now on, but those that neither fail nor matter.
inline int ask_for_each_call() {
    constexpr unsigned free_calls[] = {SYS_exit_group, SYS_exit, SYS_rt_sigreturn, SYS_sched_yield,
                                       SYS_getpid,     SYS_gettid, SYS_clock_gettime};
    std::vector<sock_filter> code{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
    for (unsigned const number : free_calls) {
        code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
        code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    }
    code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF));
    sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
    return seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

inline void count_interruption(int) { page_of_child()->interruptions.fetch_add(1); }

// The parent's side, on a thread of its own until the child has ended.
class supervisor {
  public:
    supervisor(int listener, pid_t child, shared_page& page, injection const& wanted, supervised_run& to)
        : listener_{listener}, child_{child}, page_{page}, wanted_{wanted}, to_{to} {}

    void run() {
        for (;;) {
            pollfd ready{listener_, POLLIN, 0};
            if (::poll(&ready, 1, 100) < 0 && errno != EINTR) return;
            if ((ready.revents & POLLIN) != 0)
                answer();
            else if ((ready.revents & (POLLHUP | POLLERR)) != 0 || ended_)
                return;
        }
    }
    void child_has_ended() { ended_ = true; }

  private:
    void answer() {
        seccomp_notif asked{};
        if (::ioctl(listener_, SECCOMP_IOCTL_NOTIF_RECV, &asked) != 0) return;
        seccomp_notif_resp answer{};
        answer.id = asked.id;
        answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        if (page_.armed && asked.pid == static_cast<unsigned>(child_)) {
            seen_call seen{asked.data.nr, counts_[asked.data.nr]++, {}};
            std::memcpy(seen.arguments, asked.data.args, sizeof seen.arguments);
            to_.calls.push_back(seen);
            bool const now = !to_.hit && seen.number == wanted_.number && seen.occurrence == wanted_.occurrence;
            if (now) {
                to_.hit = true;
                if (wanted_.error == 0 && interrupt(asked.id)) return;
                if (wanted_.error != 0) {
                    answer.flags = 0;
                    answer.error = -wanted_.error;
                }
            }
        }
        ::ioctl(listener_, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }

    // True if the call has been given up for the signal's handler. While the thread blocks the signal, it is not.
    bool interrupt(__u64 id) {
        ::syscall(SYS_tgkill, child_, child_, interrupting_signal);
        for (int look = 0; look < 200; ++look) {
            if (::ioctl(listener_, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) != 0) return true;
            timespec const moment{0, 20'000};
            ::nanosleep(&moment, nullptr);
        }
        return false;
    }

    int listener_;
    pid_t child_;
    shared_page& page_;
    injection wanted_;
    supervised_run& to_;
    std::map<long, unsigned> counts_;
    std::atomic<bool> ended_{false};
};

template <class Scenario>
void run_in_child(shared_page& page, injection const& wanted, Scenario& scenario) {
    page_of_child() = &page;
    struct sigaction interrupted = make_action(&count_interruption, wanted.restart ? SA_RESTART : 0);
    ::sigaction(interrupting_signal, &interrupted, nullptr);
    int const listener = ask_for_each_call();
    page.listener = listener >= 0 ? listener : -2;
    if (listener < 0) ::_exit(98);
    while (!page.supervised) {
    }
    ::close(listener);
    page.before.read();
    life at{page};
    page.how = ending::built;
    try {
        scenario(at);
    } catch (error const& e) {
        page.armed = false;
        page.how = ending::refused;
        page.code = e.code();
        std::strncpy(page.call, e.call(), sizeof page.call - 1);
        std::strncpy(page.what, e.what(), sizeof page.what - 1);
    } catch (...) {
        page.how = ending::other_exception;
    }
    page.armed = false;
    page.after.read_when_settled(page.before);
    page.done = true;
    ::_exit(0);
}

}  // namespace detail

// Runs scenario(life&) in a child of which that one call fails, or is interrupted.
template <class Scenario>
supervised_run supervise(injection const& wanted, Scenario scenario) {
    supervised_run to;
    void* const memory =
        ::mmap(nullptr, sizeof(shared_page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    auto& page = *::new (memory) shared_page;
    {
        auto process = child::run([&] { detail::run_in_child(page, wanted, scenario); });
        auto const end = std::chrono::steady_clock::now() + patience;
        while (page.listener == -1 && std::chrono::steady_clock::now() < end) ::sched_yield();
        int const pidfd = static_cast<int>(::syscall(SYS_pidfd_open, process.pid(), 0));
        int const listener =
            page.listener >= 0 ? static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd, page.listener.load(), 0)) : -1;
        if (listener >= 0) {
            detail::supervisor watch{listener, process.pid(), page, wanted, to};
            std::thread run{[&] { watch.run(); }};
            page.supervised = true;
            to.result = process.wait();
            watch.child_has_ended();
            run.join();
            ::close(listener);
        } else {
            process.signal(SIGKILL);
            to.result = process.wait();
        }
        ::close(pidfd);
    }
    to.how = page.done ? page.how : ending::none;
    to.code = page.code;
    to.call = page.call;
    to.what = page.what;
    to.before = page.before;
    to.after = page.after;
    to.interruptions = page.interruptions;
    ::munmap(memory, sizeof(shared_page));
    return to;
}

// A sanitizer makes calls of its own, and wants to have them answered.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool under_sanitizer = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
inline constexpr bool under_sanitizer = true;
#else
inline constexpr bool under_sanitizer = false;
#endif
#else
inline constexpr bool under_sanitizer = false;
#endif

inline bool can_supervise() {
    if (under_sanitizer) return false;
    static bool const can = supervise({}, [](life& at) { at.whole_life([] { return ::getppid(); }); }).how ==
                            ending::built;
    return can;
}

}  // namespace tocsin::test
