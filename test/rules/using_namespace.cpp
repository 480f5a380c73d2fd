// SPDX-License-Identifier: MIT
// A program that says `using namespace tocsin`, includes the usual POSIX headers, calls them unqualified, and has
// the globals that programs have, compiles: the library takes no name that POSIX or its users have already.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <tocsin/tocsin.hpp>

using namespace tocsin;

volatile sig_atomic_t stop_flag = 0;
int counter = 0;
bool running = true;
bool done = false;
char const* message = "";
char const* program = "";
struct config {
    int verbose;
} config;

void handler(int number) { stop_flag = number; }
void on_signal(int number) { stop_flag = number; }
void signal_handler(int number, siginfo_t*, void*) { stop_flag = number; }
void cleanup() { running = false; }
void shutdown() { running = false; }
void stop_all() { done = true; }
void reload() { ++counter; }

// The calls are compiled and linked; only the harmless ones are made.
void posix_unqualified(bool really) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    struct sigaction action {};
    struct sigaction old {};
    action.sa_handler = handler;
    sigaction(SIGUSR1, &action, &old);
    signal(SIGUSR2, on_signal);
    raise(SIGUSR1);
    kill(getpid(), SIGUSR2);
    pthread_kill(pthread_self(), SIGUSR1);
    alarm(0);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    sigprocmask(SIG_UNBLOCK, &set, nullptr);
    sigpending(&set);
    timespec const none{0, 0};
    sigtimedwait(&set, nullptr, &none);
    stack_t stack{};
    sigaltstack(nullptr, &stack);
    atexit(cleanup);
    sigaction(SIGUSR1, &old, nullptr);
    signal(SIGUSR2, SIG_DFL);
    if (!really) return;
    sigval const value{};
    sigqueue(getpid(), SIGUSR1, value);
    pause();
    sleep(1);
    usleep(1);
    sigwaitinfo(&set, nullptr);
    sigsuspend(&set);
    int status = 0;
    wait(&status);
    waitpid(-1, &status, WNOHANG);
    if (fork() == 0) execl("/bin/true", "true", nullptr);
    itimerval interval{};
    setitimer(ITIMER_REAL, &interval, nullptr);
    timer_t timer{};
    timer_create(CLOCK_MONOTONIC, nullptr, &timer);
    nanosleep(&none, nullptr);
    psignal(SIGINT, "");
    puts(strsignal(SIGINT));
    dup(1);
    shutdown(0, SHUT_RDWR);
    abort();
}

int main(int argc, char**) {
    posix_unqualified(argc > 1000);
    reload();
    stop_all();
    guard signals{
        on<SIGTERM>(request_stop),
        on<SIGHUP>(call(reload)),
        on<SIGCHLD>(wake),
    };
    return signals.stop_requested() || counter != 1 || !done || stop_flag == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
