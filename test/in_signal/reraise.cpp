// SPDX-License-Identifier: MIT
// What becomes of a signal at the end of a handler, against what would have become of it without one.
#include <tocsin/in_signal/reraise.hpp>

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <string>

#include "support/catch.hpp"
#include "support/child.hpp"

using namespace tocsin;
using in_signal::arrival;
using in_signal::disposition;
using test::child;
using test::require_in_child;

namespace {

in_signal::table slots;
in_signal::link links[in_signal::slot_count];

arrival arrived(int signal, siginfo_t* info, void* context) {
    return arrival{signal, info, static_cast<ucontext_t*>(context), &slots};
}

// As a guard does: the newest link knows what the kernel holds.
void install(int signal, void (*handler)(int, siginfo_t*, void*), int flags = 0) {
    struct sigaction action {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | flags;
    ::sigaction(signal, &action, nullptr);
    in_signal::change_action(signal, nullptr, &links[signal].action);
    slots.slots[signal].newest.store(&links[signal]);
}

void default_handler(int signal, siginfo_t* info, void* context) {
    arrival a = arrived(signal, info, context);
    in_signal::take_default(a);
}

__attribute__((noinline, no_sanitize("address", "undefined"))) void write_null() {
    int volatile* null = nullptr;
    __asm__ volatile("" : "+r"(null));
    *null = 1;
}

}  // namespace

TEST_CASE("the default of a signal is taken when the handler returns", "[reraise]") {
    int const number = GENERATE(SIGTERM, SIGINT, SIGUSR1, SIGALRM, SIGABRT, SIGSEGV, SIGXCPU, SIGPIPE);
    auto victim = child::run([number] {
        install(number, default_handler);
        ::raise(number);
        return 1;
    });
    CHECK(victim.wait().killed_by(number));
}

TEST_CASE("a true fault, and one without our re-sending it, ends in its signal", "[reraise]") {
    auto victim = child::run([] {
        install(SIGSEGV, default_handler, SA_NODEFER);
        write_null();
    });
    CHECK(victim.wait().killed_by(SIGSEGV));
}

TEST_CASE("what is ignored by default is, and the process goes on", "[reraise]") {
    int const number = GENERATE(SIGCHLD, SIGURG, SIGWINCH, SIGCONT);
    auto survivor = child::run([number] {
        install(number, default_handler);
        ::raise(number);
        struct sigaction now {};
        ::sigaction(number, nullptr, &now);
        return now.sa_sigaction == default_handler ? 0 : 1;
    });
    CHECK(survivor.wait().exited(0));
}

TEST_CASE("what stops by default stops, and goes on here with the handler back in place", "[reraise]") {
    int const number = GENERATE(SIGTSTP, SIGTTIN, SIGTTOU);
    auto parent = child::run([number] {
        pid_t const pid = ::fork();
        if (pid == 0) {
            ::setpgid(0, 0);
            install(number, default_handler);
            ::raise(number);
            struct sigaction now {};
            ::sigaction(number, nullptr, &now);
            ::_exit(now.sa_sigaction == default_handler ? 42 : 1);
        }
        ::setpgid(pid, pid);
        int status = 0;
        require_in_child(::waitpid(pid, &status, WUNTRACED) == pid);
        require_in_child(WIFSTOPPED(status) && WSTOPSIG(status) == number);
        ::kill(pid, SIGCONT);
        require_in_child(::waitpid(pid, &status, 0) == pid);
        require_in_child(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    });
    auto const& end = parent.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}

TEST_CASE("a previous handler gets the original siginfo, and its own mask and flags are back", "[reraise]") {
    static siginfo_t seen{};
    static siginfo_t first{};
    static int volatile calls = 0;
    auto survivor = child::run([] {
        static disposition previous{};
        struct sigaction action {};
        action.sa_flags = SA_SIGINFO | SA_RESTART;
        ::sigaddset(&action.sa_mask, SIGUSR2);
        action.sa_sigaction = [](int, siginfo_t* info, void*) {
            seen = *info;
            calls = calls + 1;
        };
        ::sigaction(SIGUSR1, &action, nullptr);
        in_signal::change_action(SIGUSR1, nullptr, &previous);
        install(SIGUSR1, [](int signal, siginfo_t* info, void* context) {
            first = *info;
            arrival a = arrived(signal, info, context);
            in_signal::reraise(a, previous);
        });
        sigval value{};
        value.sival_int = 12345;
        ::sigqueue(::getpid(), SIGUSR1, value);
        require_in_child(calls == 1 && seen.si_code == SI_QUEUE && seen.si_value.sival_int == 12345);
        require_in_child(seen.si_pid == ::getpid() && seen.si_uid == first.si_uid && seen.si_code == first.si_code);
        struct sigaction now {};
        ::sigaction(SIGUSR1, nullptr, &now);
        require_in_child((now.sa_flags & SA_RESTART) != 0 && ::sigismember(&now.sa_mask, SIGUSR2) == 1);
        ::raise(SIGUSR1);
        require_in_child(calls == 2);
    });
    auto const& end = survivor.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}

TEST_CASE("a previous handler of a fault finds code and address, and the instruction that faulted", "[reraise]") {
    auto survivor = child::run([] {
        static disposition previous{};
        static char* page = nullptr;
        page = static_cast<char*>(::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        install(SIGSEGV, [](int, siginfo_t* info, void*) {
            if (info->si_code != SEGV_ACCERR || info->si_addr != page + 5) ::_exit(43);
            ::mprotect(page, 4096, PROT_READ | PROT_WRITE);
        });
        in_signal::change_action(SIGSEGV, nullptr, &previous);
        install(SIGSEGV, [](int signal, siginfo_t* info, void* context) {
            arrival a = arrived(signal, info, context);
            in_signal::reraise(a, previous);
        }, SA_NODEFER);
        page[5] = 1;
        return page[5] == 1 ? 0 : 1;
    });
    CHECK(survivor.wait().exited(0));
}

TEST_CASE("an ignored signal that was sent is ignored again; a true fault cannot be", "[reraise]") {
    bool const fault = GENERATE(false, true);
    auto subject = child::run([fault] {
        install(SIGSEGV, [](int signal, siginfo_t* info, void* context) {
            arrival a = arrived(signal, info, context);
            in_signal::reraise(a, {SIG_IGN, 0, nullptr, 0});
        }, SA_NODEFER);
        fault ? write_null() : static_cast<void>(::raise(SIGSEGV));
    });
    if (fault)
        CHECK(subject.wait().killed_by(SIGSEGV));
    else
        CHECK(subject.wait().exited(0));
}

TEST_CASE("it does not matter that the interrupted thread blocks the signal", "[reraise]") {
    auto victim = child::run([] {
        install(SIGTERM, default_handler);
        sigset_t all;
        sigset_t but_one;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
        ::raise(SIGTERM);
        but_one = all;
        ::sigdelset(&but_one, SIGTERM);
        ::sigsuspend(&but_one);  // the mask that the handler returns to blocks it
        ::_exit(1);
    });
    CHECK(victim.wait().killed_by(SIGTERM));
}

TEST_CASE("outside a handler the default is taken at once", "[reraise]") {
    auto victim = child::run([] {
        siginfo_t info{};
        info.si_signo = SIGTERM;
        arrival a = arrived(SIGTERM, &info, nullptr);
        in_signal::take_default(a);
        in_signal::kernel_set const open = in_signal::bit_of(SIGTERM);
        in_signal::change_mask(SIG_UNBLOCK, &open, nullptr);
        return 1;
    });
    CHECK(victim.wait().killed_by(SIGTERM));
}
