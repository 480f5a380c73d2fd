// SPDX-License-Identifier: MIT
#include <tocsin/send.hpp>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/refuse_call.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using test::child;
using test::in_child;
using test::require_in_child;

namespace {

// Takes a pending signal; its number is 0 if there is none.
siginfo_t take(int signal) {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, signal);
    timespec const at_once{};
    siginfo_t info{};
    if (::sigtimedwait(&set, &info, &at_once) < 0) info = {};
    return info;
}

template <class F>
int code_of(F f) {
    try {
        f();
    } catch (error const& refused) {
        return refused.code();
    }
    return 0;
}

// From here on the kernel knows of no descriptors for threads.
void forbid_pidfds() { test::refuse_call(434, EINVAL); }

// A thread that blocks a signal and stays until it is told to look what it has got.
class receiver {
  public:
    explicit receiver(int signal)
        : thread_{[this, signal] {
              test::block_signal(signal);
              id_ = in_signal::gettid();
              while (!look_) ::sched_yield();
              got_ = take(signal);
          }} {
        while (id_ == 0) ::sched_yield();
    }
    pid_t id() const { return id_; }
    siginfo_t join() {
        look_ = true;
        thread_.join();
        return got_;
    }

  private:
    std::atomic<pid_t> id_{0};
    std::atomic<bool> look_{false};
    siginfo_t got_{};
    std::thread thread_;
};

void check_threads(bool exact) {
    test::block_signal(SIGRTMIN + 1);
    receiver one{SIGRTMIN + 1};
    receiver other{SIGRTMIN + 1};
    thread_ref const to{one.id()};
    require_in_child(to.exact() == exact && to.id() == one.id());
    send_value(to, SIGRTMIN + 1, 7);
    require_in_child(take(SIGRTMIN + 1).si_signo == 0);
    require_in_child(other.join().si_signo == 0);
    siginfo_t const got = one.join();
    require_in_child(got.si_signo == SIGRTMIN + 1 && got.si_code == SI_QUEUE && got.si_value.sival_int == 7);
    require_in_child(got.si_pid == ::getpid() && got.si_uid == ::getuid());
    // the number may be anybody's now
    test::until([&] { return code_of([&] { send_signal(to, 0); }) == ESRCH; });
    require_in_child(code_of([&] { send_signal(to, SIGKILL); }) == ESRCH);
    require_in_child(code_of([&] { send_value(to, SIGUSR1, 1); }) == ESRCH);
    send_signal(thread_ref::current(), SIGRTMIN + 1);
    require_in_child(take(SIGRTMIN + 1).si_signo == SIGRTMIN + 1);
}

}  // namespace

TEST_CASE("a signal goes to a process, with a value or without", "[send]") {
    in_child([] {
        test::block_signal(SIGRTMIN + 3);
        test::block_signal(SIGUSR1);
        send_signal(::getpid(), SIGUSR1);
        siginfo_t const plain = take(SIGUSR1);
        require_in_child(plain.si_signo == SIGUSR1 && plain.si_code == SI_USER && plain.si_pid == ::getpid());
        int here = 0;
        send_value(::getpid(), rt<3>, 1);
        send_value(::getpid(), rt<3>, &here);
        send_value(::getpid(), rt<3>, sigval{.sival_int = 3});
        require_in_child(take(SIGRTMIN + 3).si_value.sival_int == 1);
        require_in_child(take(SIGRTMIN + 3).si_value.sival_ptr == &here);
        siginfo_t const last = take(SIGRTMIN + 3);
        require_in_child(last.si_value.sival_int == 3 && last.si_code == SI_QUEUE);
        require_in_child(last.si_pid == ::getpid() && last.si_uid == ::getuid());
        send_signal(::getpid(), 0);
        require_in_child(take(SIGRTMIN + 3).si_signo == 0);
    });
}

TEST_CASE("what is no signal, or nobody, is refused", "[send]") {
    for (int const number : {-1, 32, 33, 65, 1000}) {
        CHECK(code_of([&] { send_signal(::getpid(), number); }) == EINVAL);
        CHECK(code_of([&] { send_value(::getpid(), number, 1); }) == EINVAL);
        CHECK(code_of([&] { send_signal(process_group::current(), number); }) == EINVAL);
    }
    for (pid_t const nobody : {0, -1, -::getpid()}) {
        CHECK(code_of([&] { send_signal(nobody, SIGWINCH); }) == EINVAL);
        CHECK(code_of([&] { send_value(nobody, SIGWINCH, 1); }) == EINVAL);
        CHECK(code_of([&] { static_cast<void>(thread_ref{nobody}); }) == EINVAL);
    }
    for (pid_t const nobody : {1, 0, -1})
        CHECK(code_of([&] { send_signal(process_group{nobody}, 0); }) == EINVAL);
    int code = 0;
    send_signal(code, 0, SIGTERM);
    CHECK(code == EINVAL);
    send_signal(code, ::getpid(), 0);
    CHECK(code == 0);
    send_value(code, ::getpid(), 33, 1);
    CHECK(code == EINVAL);
}

TEST_CASE("a full queue says so", "[send]") {
    in_child([] {
        test::block_signal(SIGRTMIN);
        rlimit const few{2, 2};
        ::setrlimit(RLIMIT_SIGPENDING, &few);
        int code = 0;
        for (int i = 0; i < 3 && code == 0; ++i) send_value(code, ::getpid(), SIGRTMIN, i);
        // the limit is the user's, whose other processes have signals pending too
        require_in_child(code == EAGAIN);
    });
}

TEST_CASE("a process that has ended is not there, whoever has its number", "[send]") {
    in_child([] {
        pid_t const made = ::fork();
        if (made == 0) {
            ::pause();
            ::_exit(0);
        }
        process_ref to{made};
        send_signal(to, 0);
        pollfd ended{to.fd(), POLLIN, 0};
        require_in_child(::poll(&ended, 1, 0) == 0);
        send_signal(to, SIGTERM);
        int status = 0;
        require_in_child(::waitpid(made, &status, 0) == made && WIFSIGNALED(status) &&
                         WTERMSIG(status) == SIGTERM);
        require_in_child(::poll(&ended, 1, 0) == 1);
        require_in_child(code_of([&] { send_signal(to, SIGKILL); }) == ESRCH);
        require_in_child(code_of([&] { send_value(to, SIGUSR1, 1); }) == ESRCH);
        require_in_child(code_of([&] { static_cast<void>(process_ref{made}); }) == ESRCH);
    });
}

TEST_CASE("a pidfd carries values, and the program's own is only borrowed", "[send]") {
    in_child([] {
        test::block_signal(SIGRTMIN + 1);
        process_ref self{::getpid()};
        send_value(self, rt<1>, 11);
        siginfo_t const got = take(SIGRTMIN + 1);
        require_in_child(got.si_code == SI_QUEUE && got.si_value.sival_int == 11 && got.si_pid == ::getpid());
        unsigned const before = test::descriptors();
        send_value(pidfd_view{self.fd()}, rt<1>, 12);
        require_in_child(take(SIGRTMIN + 1).si_value.sival_int == 12 && test::descriptors() == before);
        process_ref moved{std::move(self)};
        require_in_child(self.fd() == -1 && test::descriptors() == before);
        require_in_child(code_of([&] { send_signal(self, SIGUSR1); }) == EBADF);
        {
            process_ref const again = process_ref::adopt(moved.release());
            send_signal(again, 0);
        }
        require_in_child(test::descriptors() == before - 1);
        require_in_child(code_of([] { send_signal(pidfd_view{0}, SIGUSR1); }) == EBADF);
        require_in_child(code_of([] { send_signal(pidfd_view{-1}, SIGUSR1); }) == EBADF);
        require_in_child(::fcntl(process_ref{::getpid()}.fd(), F_GETFD) == FD_CLOEXEC);
    });
}

TEST_CASE("a descriptor that cannot be had is an error with a name", "[send]") {
    in_child([] {
        rlimit const few{3, 64};
        ::setrlimit(RLIMIT_NOFILE, &few);
        require_in_child(code_of([] { static_cast<void>(process_ref{::getpid()}); }) == EMFILE);
        require_in_child(code_of([] { static_cast<void>(thread_ref::current()); }) == EMFILE);
    });
    CHECK(code_of([] { static_cast<void>(process_ref{0}); }) == EINVAL);
    CHECK(code_of([] { static_cast<void>(process_ref{-1}); }) == EINVAL);
}

TEST_CASE("a kernel without pidfds is an error with a name, and a filter is none", "[send]") {
    in_child([] {
        test::refuse_call(434, ENOSYS);
        require_in_child(code_of([] { static_cast<void>(process_ref{::getpid()}); }) == ENOSYS);
        require_in_child(!thread_ref::current().exact());
    });
    in_child([] {
        process_ref const self{::getpid()};
        test::refuse_call(424, EPERM);
        require_in_child(code_of([&] { send_signal(self, 0); }) == EPERM);
        test::refuse_call(SYS_rt_sigqueueinfo, EPERM);
        require_in_child(code_of([&] { send_value(::getpid(), SIGUSR1, 1); }) == EPERM);
        test::refuse_call(SYS_kill, EPERM);
        require_in_child(code_of([&] { send_signal(::getpid(), 0); }) == EPERM);
        require_in_child(code_of([&] { send_signal(process_group::current(), 0); }) == EPERM);
        test::refuse_call(SYS_tgkill, EPERM);
        require_in_child(code_of([] { static_cast<void>(thread_ref::current()); }) == EPERM);
    });
}

TEST_CASE("a signal goes to one thread, and after its end to none", "[send]") {
    in_child([] {
        int const probe = posix::open_pidfd(in_signal::gettid(), posix::pidfd_thread);
        if (probe >= 0) ::close(probe);
        check_threads(probe >= 0);
    });
}

TEST_CASE("a signal goes to one thread where the kernel has no descriptors for threads", "[send]") {
    in_child([] {
        forbid_pidfds();
        check_threads(false);
    });
}

TEST_CASE("a thread is told apart from a later one with its number", "[send]") {
    CHECK(posix::start_of_thread(::getpid(), in_signal::gettid()) != 0);
    CHECK(posix::start_of_thread(::getpid(), 1 << 30) == 0);
    in_child([] {
        // a name that looks like the fields behind it
        ::prctl(PR_SET_NAME, ") S 1 2 3 4 5");
        std::uint64_t const one = posix::start_of_thread(::getpid(), ::getpid());
        ::prctl(PR_SET_NAME, "plain");
        require_in_child(one != 0 && posix::start_of_thread(::getpid(), ::getpid()) == one);
    });
}

// Where the kernel lets us choose the next number (root, ns_last_pid): a new thread with the number of an old one.
void check_recycled(bool exact) {
    int const last = ::open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
    if (last < 0) return test::say("left out: numbers cannot be chosen here");
    if (!exact) forbid_pidfds();
    for (int attempt = 0; attempt < 200; ++attempt) {
        auto old = std::make_unique<receiver>(SIGUSR1);
        thread_ref const to{old->id()};
        old->join();
        auto const tick = std::chrono::steady_clock::now() + std::chrono::milliseconds{20};
        while (std::chrono::steady_clock::now() < tick) ::sched_yield();
        std::string const before = std::to_string(to.id() - 1);
        if (::pwrite(last, before.data(), before.size(), 0) < 0) return test::say("left out: not allowed");
        receiver fresh{SIGUSR1};
        bool const same = fresh.id() == to.id();
        int const code = code_of([&] { send_signal(to, SIGUSR1); });
        siginfo_t const got = fresh.join();
        require_in_child(code == ESRCH && got.si_signo == 0);
        if (same) return test::say("recycled");
    }
    test::say("left out: somebody else was always faster");
}

TEST_CASE("a new thread with the number of one that has ended gets nothing", "[send]") {
    bool const exact = GENERATE(true, false);
    auto subject = child::run([&] { check_recycled(exact); });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    if (end.out != "recycled\n") WARN(end.out);
}

TEST_CASE("another process's thread is none of ours", "[send]") {
    in_child([] { require_in_child(code_of([] { static_cast<void>(thread_ref{::getppid()}); }) == ESRCH); });
}

TEST_CASE("a process group gets its signal, and nobody else", "[send]") {
    in_child([] {
        auto const member = [](pid_t group) {
            pid_t const made = ::fork();
            if (made == 0) {
                ::setpgid(0, group);
                for (;;) ::pause();
            }
            ::setpgid(made, group);
            return made;
        };
        pid_t const leader = member(0);
        pid_t const follower = member(leader);
        pid_t const other = member(0);
        send_signal(process_group{leader}, SIGUSR1);
        int status = 0;
        for (pid_t const each : {leader, follower})
            require_in_child(::waitpid(each, &status, 0) == each && WTERMSIG(status) == SIGUSR1);
        require_in_child(::waitpid(other, &status, WNOHANG) == 0);
        require_in_child(code_of([&] { send_signal(process_group{leader}, SIGUSR1); }) == ESRCH);

        process_ref const held{other};
        pid_t const second = member(other);
        int const code = code_of([&] { send_to_group(held, SIGUSR2); });
        if (code == EINVAL) {
            ::kill(-other, SIGUSR2);  // a kernel before 6.9
        }
        for (pid_t const each : {other, second})
            require_in_child(::waitpid(each, &status, 0) == each && WTERMSIG(status) == SIGUSR2);
        require_in_child(process_group::current().id == ::getpgrp());
    });
}
