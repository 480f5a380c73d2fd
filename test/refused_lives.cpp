// SPDX-License-Identifier: MIT
// Every system call that construction and removal make fails once, with each errno that it may have, and is interrupted
// once by a signal: a clear error or a thing that works, and nothing left behind.
#include <fcntl.h>
#include <sys/ioctl.h>

#include <cstdlib>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <tocsin/dump_on_request.hpp>
#include <tocsin/tocsin.hpp>

#include "support/call_supervisor.hpp"

using namespace tocsin;
using namespace tocsin::test;

namespace {

// --- What may go wrong ----------------------------------------------------------------------------------------------

struct known_call {
    long number;
    char const* name;
    bool can_be_interrupted;  // signal(7), "Interruption of system calls and library functions by signal handlers"
    std::vector<int> errors;  // of the manual page, that correct arguments can have; EPERM and ENOSYS from a sandbox
};

std::vector<known_call> const known_calls{
    {SYS_mmap, "mmap", false, {ENOMEM, EAGAIN}},
    {SYS_mprotect, "mprotect", false, {ENOMEM, EACCES}},
    {SYS_munmap, "munmap", false, {ENOMEM}},
    {SYS_madvise, "madvise", false, {EAGAIN}},
    {SYS_openat, "openat", true, {EMFILE, ENFILE, ENOENT, EACCES, ENOMEM}},
    {SYS_read, "read", true, {EINTR, EIO}},
    {SYS_pread64, "pread64", true, {EINTR, EIO}},
    {SYS_write, "write", true, {EINTR, EAGAIN, EIO}},
    {SYS_close, "close", false, {EINTR, EIO}},
    {SYS_fcntl, "fcntl", false, {EMFILE, EINVAL}},
    {SYS_fstat, "fstat", false, {ENOMEM}},
    {SYS_newfstatat, "newfstatat", false, {ENOMEM, EACCES}},
    {SYS_getdents64, "getdents64", false, {EIO}},
    {SYS_readlinkat, "readlinkat", false, {EACCES, ENOMEM}},
    {SYS_unlinkat, "unlinkat", false, {EACCES}},
    {SYS_eventfd2, "eventfd2", false, {EMFILE, ENFILE, ENODEV, ENOMEM}},
    {SYS_timerfd_create, "timerfd_create", false, {EMFILE, ENFILE, ENODEV, ENOMEM}},
    {SYS_timerfd_settime, "timerfd_settime", false, {EPERM}},
    {SYS_timer_create, "timer_create", false, {EAGAIN, ENOMEM, EPERM}},
    {SYS_timer_settime, "timer_settime", false, {EPERM}},
    {SYS_timer_delete, "timer_delete", false, {EPERM}},
    {SYS_setitimer, "setitimer", false, {EPERM}},
    {SYS_getitimer, "getitimer", false, {EPERM}},
    {SYS_rt_sigaction, "rt_sigaction", false, {EPERM}},
    {SYS_rt_sigprocmask, "rt_sigprocmask", false, {}},
    {SYS_rt_sigtimedwait, "rt_sigtimedwait", true, {EINTR}},
    {SYS_rt_sigpending, "rt_sigpending", false, {}},
    {SYS_sigaltstack, "sigaltstack", false, {ENOMEM, EPERM}},
    {SYS_clone, "clone", false, {EAGAIN, ENOMEM, EPERM}},
    {SYS_clone3, "clone3", false, {EAGAIN, ENOMEM, ENOSYS}},
    {SYS_prctl, "prctl", false, {EPERM}},
    {SYS_futex, "futex", true, {}},
    {SYS_tgkill, "tgkill", false, {EAGAIN, EPERM}},
    {SYS_rt_tgsigqueueinfo, "rt_tgsigqueueinfo", false, {EAGAIN, EPERM}},
    {SYS_ppoll, "ppoll", true, {EINTR, ENOMEM}},
    {SYS_clock_nanosleep, "clock_nanosleep", true, {EINTR}},
    {SYS_waitid, "waitid", true, {EINTR}},
    {SYS_wait4, "wait4", true, {EINTR}},
    {SYS_pidfd_open, "pidfd_open", false, {EMFILE, ENFILE, ENODEV, ENOMEM, ENOSYS}},
    {SYS_signalfd4, "signalfd4", false, {EMFILE, ENFILE, ENODEV, ENOMEM}},
    {SYS_socket, "socket", false, {EMFILE, ENFILE, ENOMEM, EACCES}},
    {SYS_bind, "bind", false, {EADDRINUSE, EACCES, ENOMEM}},
    {SYS_listen, "listen", false, {EADDRINUSE}},
    {SYS_fchmod, "fchmod", false, {EPERM}},
    {SYS_inotify_init1, "inotify_init1", false, {EMFILE, ENOMEM}},
    {SYS_inotify_add_watch, "inotify_add_watch", false, {ENOSPC, ENOMEM, EACCES}},
    {SYS_shutdown, "shutdown", false, {ENOTCONN}},
    {SYS_getsockopt, "getsockopt", false, {ENOMEM}},
    {SYS_ioctl, "ioctl", false, {ENOTTY}},
    {SYS_membarrier, "membarrier", false, {ENOSYS, EPERM}},
    {SYS_sched_getaffinity, "sched_getaffinity", false, {}},
    {SYS_prlimit64, "prlimit64", false, {EPERM}},
    {SYS_getrandom, "getrandom", true, {EINTR, EAGAIN}},
#ifdef SYS_poll
    {SYS_poll, "poll", true, {EINTR, ENOMEM}},
    {SYS_open, "open", true, {EMFILE, ENOENT, EACCES}},
    {SYS_readlink, "readlink", false, {EACCES}},
    {SYS_unlink, "unlink", false, {EACCES}},
    {SYS_access, "access", false, {EACCES}},
#endif
};

known_call const* find_call(long number) {
    for (auto const& each : known_calls)
        if (each.number == number) return &each;
    return nullptr;
}
std::string name_of(long number) {
    known_call const* const known = find_call(number);
    return known != nullptr ? known->name : "call " + std::to_string(number);
}

// --- What must be as before -----------------------------------------------------------------------------------------

// A disposition, stack or descriptor that cannot be put back because the very call for it was refused.
bool is_excused(long refused, char const* what) {
    std::string const thing = what;
    if (refused == SYS_rt_sigaction) return thing == "disposition";
    if (refused == SYS_sigaltstack) return thing == "alternate stack";
    if (refused == SYS_close) return thing == "descriptors";
    if (refused == SYS_timer_delete) return thing == "timers";
    // What cannot be recognised as ours any more is not closed, or written to.
    if (refused == SYS_fstat) return thing == "descriptors" || thing == "threads of the library";
    return false;
}

// What differs from before, unless it also does in a run in which nothing failed.
std::vector<std::string> changes(supervised_run const& run, supervised_run const& whole) {
    std::vector<std::string> found;
    process_state const& before = run.before;
    process_state const& after = run.after;
    for (int number = 1; number < NSIG; ++number)
        if (!same_action(before.actions[number], after.actions[number]) &&
            !same_action(whole.after.actions[number], after.actions[number]))
            found.push_back("disposition");
    if (!same_mask(before.mask, after.mask)) found.push_back("mask");
    bool const kept_whole = whole.after.stack.ss_flags == after.stack.ss_flags;
    if (before.stack.ss_flags != after.stack.ss_flags && !kept_whole) found.push_back("alternate stack");
    if (after.descriptors > before.descriptors && after.descriptors > whole.after.descriptors)
        found.push_back("descriptors");
    if (after.own_threads > whole.after.own_threads) found.push_back("threads of the library");
    if (after.foreign_threads > before.foreign_threads) found.push_back("threads");
    if (after.timers > before.timers && after.timers > whole.after.timers) found.push_back("timers");
    return found;
}

struct verdict {
    std::vector<std::string> problems;
    unsigned runs = 0;
    unsigned refused = 0;
    unsigned went_on = 0;
};

std::string describe(injection const& wanted) {
    std::string const what = wanted.error != 0 ? std::string{::strerrorname_np(wanted.error)} : "a signal";
    return name_of(wanted.number) + "#" + std::to_string(wanted.occurrence) + " " + what + ": ";
}

void judge(injection const& wanted, supervised_run const& run, supervised_run const& whole, verdict& to) {
    ++to.runs;
    auto const problem = [&](std::string const& text) { to.problems.push_back(describe(wanted) + text); };
    if (run.how == ending::none) return problem("did not end: " + run.result.describe());
    if (run.how == ending::other_exception) return problem("another exception");
    if (run.how == ending::useless) return problem("does not work, and did not say so");
    if (run.how == ending::refused) {
        ++to.refused;
        if (wanted.error == 0 && run.code != EINTR) problem("refused for a signal: " + run.what);
        bool const clear = run.code > 0 && !run.call.empty() && run.what.find(run.call) != std::string::npos &&
                           run.what.find(std::strerror(run.code)) != std::string::npos;
        if (!clear) problem("not clear: " + run.what);
    } else {
        ++to.went_on;
    }
    for (auto const& each : changes(run, whole))
        if (wanted.error == 0 || !is_excused(wanted.number, each.c_str())) problem(each + " (" + run.what + ")");
}

// `left_out`: calls that cannot fail in this scenario, whatever their manual page says.
template <class Scenario>
verdict try_every_call(Scenario scenario, std::set<long> const& left_out) {
    verdict to;
    supervised_run const whole = supervise({}, scenario);
    if (whole.how != ending::built) {
        to.problems.push_back("with nothing refused: " + whole.what + whole.result.describe());
        return to;
    }
    for (auto const& each : whole.calls) {
        known_call const* const known = find_call(each.number);
        bool const memory_of_libc = each.number == SYS_brk;  // answers the old end instead of an errno
        if (known == nullptr) {
            if (!memory_of_libc) to.problems.push_back("a call that is not listed: " + std::to_string(each.number));
            continue;
        }
        if (left_out.count(each.number) != 0) continue;
        for (int const error : known->errors) {
            if (each.number == SYS_fcntl && each.arguments[1] != F_DUPFD_CLOEXEC && error == EMFILE) continue;
            injection const wanted{each.number, each.occurrence, error, true};
            judge(wanted, supervise(wanted, scenario), whole, to);
        }
        injection const wanted{each.number, each.occurrence, 0, !known->can_be_interrupted};
        judge(wanted, supervise(wanted, scenario), whole, to);
    }
    return to;
}

template <class Scenario>
void require_of_every_call(Scenario scenario, std::set<long> const& left_out = {}) {
    if (!can_supervise()) {
        WARN("left out: no seccomp filter that notifies, no pidfd_getfd, or a sanitizer");
        return;
    }
    verdict const found = try_every_call(scenario, left_out);
    std::string all;
    for (auto const& each : found.problems) all += each + "\n";
    INFO(found.runs << " runs, " << found.refused << " refused, " << found.went_on << " went on");
    if (std::getenv("TOCSIN_TEST_TELL") != nullptr)
        WARN(found.runs << " runs, " << found.refused << " refused, " << found.went_on << " went on");
    CHECK(all == "");
    CHECK(found.runs > 0);
}

// Waits for a condition, and answers whether it came true.
template <class Condition>
bool soon(Condition condition) {
    for (int look = 0; look < 4000; ++look) {
        if (condition()) return true;
        timespec const moment{0, 500'000};
        ::nanosleep(&moment, nullptr);
    }
    return false;
}

// A pipe that does not wait, closed also if the scenario ends by an error.
class both_ends {
  public:
    both_ends() { require_in_child(::pipe2(of_, O_CLOEXEC | O_NONBLOCK) == 0); }
    ~both_ends() {
        close(0);
        close(1);
    }
    both_ends(both_ends const&) = delete;
    both_ends& operator=(both_ends const&) = delete;

    int operator[](int which) const { return of_[which]; }
    void close(int which) {
        if (of_[which] >= 0) ::close(std::exchange(of_[which], -1));
    }

  private:
    int of_[2];
};

}  // namespace

// --- Guards ---------------------------------------------------------------------------------------------------------

TEST_CASE("a guard that wakes: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        at.whole_life([] { return guard{on<SIGUSR1>(wake), on<rt<3>>(wake)}; },
                      [](auto& signals) {
                          ::raise(SIGUSR1);
                          bool const ready = readable(signals.fd());
                          int seen = 0;
                          for (auto const& what : signals.take()) seen += what.signal();
                          return ready && seen == SIGUSR1;
                      });
    });
}

TEST_CASE("a guard that calls: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        static std::atomic<int> called{0};
        at.whole_life([] { return guard{on<SIGUSR1>(call([](delivery) { ++called; }))}; },
                      [](auto&) {
                          ::raise(SIGUSR1);
                          return soon([] { return called == 1; });
                      });
    });
}

TEST_CASE("a guard that defers: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        static int ran = 0;
        at.whole_life([] { return guard{on<SIGUSR1, rt<4>>(defer([] { ++ran; }))}; },
                      [](auto& signals) {
                          ::raise(SIGUSR1);
                          ::raise(rt<4>);
                          ::raise(rt<4>);
                          return signals.pending() && signals.check() == 3 && ran == 3;
                      });
    });
}

TEST_CASE("a guard that stops: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        at.whole_life([] { return guard{on<SIGTERM>(request_stop)}; },
                      [](auto& signals) {
                          ::raise(SIGTERM);
                          auto const token = signals.stop_token();
                          return signals.stop_requested() && soon([&] { return token.stop_requested(); });
                      });
    });
}

TEST_CASE("a guard that dumps to a descriptor: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        both_ends const ends;
        at.whole_life([&] { return guard{on<SIGQUIT>(dump_threads.to(ends[1]).this_thread())}; },
                      [&](auto&) {
                          ::raise(SIGQUIT);
                          std::string text;
                          return soon([&] {
                              char buffer[4096];
                              for (ssize_t got; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;)
                                  text.append(buffer, static_cast<std::size_t>(got));
                              return text.find("end of report") != std::string::npos;
                          });
                      });
    });
}

TEST_CASE("a guard that dumps to a file: every call refused and interrupted once", "[refused_lives]") {
    scratch_directory place;
    require_of_every_call([&](life& at) {
        std::string const path = place.file("report-{pid}");
        std::string const made = place.file("report-" + std::to_string(::getpid()));
        at.whole_life([&] { return guard{on<SIGQUIT>(dump_threads.to_file(path.c_str()).this_thread())}; },
                      [&](auto&) {
                          ::raise(SIGQUIT);
                          return soon([&] { return contents_of(made).find("end of report") != std::string::npos; });
                      });
        ::unlink(made.c_str());
    });
}

TEST_CASE("a guard for crashes: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        both_ends const ends;
        at.whole_life([&] { return guard{on_crash(dump_threads.to(ends[1]))}; },
                      [](auto&) {
                          stack_t stack{};
                          ::sigaltstack(nullptr, &stack);
                          bool const ours = action_of(SIGSEGV).sa_handler != SIG_DFL;
                          return ours && (stack.ss_flags & SS_DISABLE) == 0;
                      });
    });
}

TEST_CASE("a guard with watchdogs: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        static std::atomic<int> hangs{0};
        at.whole_life(
            [] { return guard{watchdog(10ms)(call([](delivery) { ++hangs; })), watchdog<"named">(1h)(dump_threads)}; },
            [](auto&) { return soon([] { return hangs == 1; }); });
    });
}

TEST_CASE("a guard that chains: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        static std::atomic<int> before{0};
        struct sigaction const older = make_action([](int) { ++before; }, SA_RESTART);
        ::sigaction(SIGUSR1, &older, nullptr);
        at.whole_life([] { return guard{on<SIGUSR1>(wake, chain)}; },
                      [](auto& signals) {
                          ::raise(SIGUSR1);
                          return readable(signals.fd()) && before == 1;
                      });
        before = 0;
        ::raise(SIGUSR1);  // be it that the kernel still has our entry
        at.works(before == 1);
    });
}

TEST_CASE("a guard in a guard of the same signal: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        guard outer{on<SIGUSR1>(wake)};
        at.whole_life([] { return guard{on<SIGUSR1>(wake, chain)}; },
                      [&](auto& inner) {
                          ::raise(SIGUSR1);
                          return readable(inner.fd()) && readable(outer.fd());
                      });
        outer.take();
        ::raise(SIGUSR1);
        at.works(readable(outer.fd()));
    });
}

// --- Threads and masks ----------------------------------------------------------------------------------------------

TEST_CASE("thread_guard: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        at.whole_life([] { return thread_guard{"a name"}; },
                      [](auto&) {
                          stack_t stack{};
                          ::sigaltstack(nullptr, &stack);
                          return (stack.ss_flags & SS_DISABLE) == 0;
                      });
    });
}

TEST_CASE("block and unblock: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        at.whole_life([] { return block<SIGUSR1, SIGTERM>{}; },
                      [](auto&) {
                          unblock<SIGTERM> const inner;
                          ::raise(SIGUSR1);
                          return signal_set{SIGUSR1} == wait_for(signal_set{SIGUSR1}, 0s)->signal();
                      });
    });
}

TEST_CASE("waiting: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        block<SIGUSR1> const here;
        ::raise(SIGUSR1);
        at.arm();
        auto const first = wait_for(signal_set{SIGUSR1}, 10ms);
        auto const second = wait_for(signal_set{SIGUSR1}, 1ms);
        at.disarm();
        at.works(first && first->signal() == SIGUSR1 && !second);
    });
}

TEST_CASE("without_sigpipe: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        both_ends ends;
        ends.close(0);
        at.whole_life([] { return without_sigpipe{}; },
                      [&](auto&) { return ::write(ends[1], "x", 1) < 0 && errno == EPIPE; });
    }, {SYS_rt_sigtimedwait});  // that does not wait: it is not interrupted (kernel/signal.c, do_sigtimedwait)
}

TEST_CASE("process_defaults: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        constexpr signal_set expected{SIGINT, SIGPIPE, SIGXFSZ};
        at.whole_life([] { return process_defaults{}; },
                      [&](auto& defaults) {
                          bool const both = (defaults.taken() | defaults.left_alone()) == expected;
                          if (!defaults.left_alone().empty()) return both;  // said, and so no surprise
                          ::raise(SIGPIPE);
                          ::raise(SIGINT);
                          return both && defaults.interrupted() == SIGINT;
                      });
    });
}

// --- Times ----------------------------------------------------------------------------------------------------------

TEST_CASE("deadline: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) { at.whole_life([] { return deadline{1h}; }); });
}

TEST_CASE("dump_later: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        both_ends const ends;
        at.arm();
        dump_later(10ms, dump_threads.to(ends[1]).this_thread());
        at.disarm();
        at.works(soon([&] { return readable(ends[0]); }));
        at.arm();
        cancel_dump_later();
        at.disarm();
    });
}

TEST_CASE("timer: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        block<SIGUSR1> const here;
        at.whole_life([] { return timer{SIGUSR1, 1ms}; },
                      [](auto&) { return static_cast<bool>(wait_for(signal_set{SIGUSR1}, 2s)); });
    });
}

TEST_CASE("timer_descriptor: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        at.whole_life([] { return timer_descriptor{1ms, 1ms}; },
                      [](auto& ticks) { return soon([&] { return readable(ticks.fd()); }); });
    });
}

TEST_CASE("interval_timer: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        block<SIGALRM> const here;
        at.whole_life([] { return interval_timer<ITIMER_REAL>{1ms}; },
                      [](auto&) { return static_cast<bool>(wait_for(signal_set{SIGALRM}, 2s)); });
    });
}

TEST_CASE("alarm_guard: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        at.whole_life([] { return alarm_guard{1h}; }, [](auto&) { return ::alarm(0) != 0; });
    });
}

// --- Others ---------------------------------------------------------------------------------------------------------

TEST_CASE("child_watch: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        pid_t const made = ::fork();
        if (made == 0) ::_exit(3);
        siginfo_t ignored{};
        ::waitid(P_PID, static_cast<id_t>(made), &ignored, WEXITED | WNOWAIT);
        at.arm();
        {
            child_watch one{made};
            child_end const end = one.wait();
            at.works(end.code() == 3);
        }
        at.disarm();
    });
}

TEST_CASE("guarded: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        int volatile* volatile nowhere = nullptr;
        at.arm();
        auto const value = guarded<SIGSEGV, SIGBUS>([] { return 42; });
        auto const fault = guarded<SIGSEGV, SIGBUS>([&] { return *nowhere; });
        at.disarm();
        at.works(value && *value == 42 && !fault);
    });
}

TEST_CASE("doctor: every call refused and interrupted once", "[refused_lives]") {
    require_of_every_call([](life& at) {
        int const fd = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
        at.arm();
        doctor(fd);
        at.disarm();
        ::close(fd);
    });
}

TEST_CASE("dump_on_request: every call refused and interrupted once", "[refused_lives]") {
    scratch_directory place;
    require_of_every_call([&](life& at) {
        std::string const path = place.file("s-{pid}");
        std::string const file = place.file("s-" + std::to_string(::getpid()));
        at.whole_life([&] { return dump_on_request{path.c_str()}; },
                      [&](auto&) { return !names_in(place.path()).empty(); });
        ::unlink(file.c_str());
    });
    require_of_every_call([&](life& at) {
        std::string const path = place.file("f-{pid}");
        at.whole_life([&] { return dump_on_request{path.c_str(), request_file, dump_threads.this_thread()}; },
                      [&](auto& here) {
                          ::close(::open(here.path(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
                          return soon([&] { return ::access(here.path(), F_OK) != 0; });
                      });
        for (auto const& each : names_in(place.path())) ::unlink(place.file(each).c_str());
    });
}
