// SPDX-License-Identifier: MIT
// Each problem is made for real in a child, which then runs the self-check.
#include <tocsin/doctor.hpp>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <tocsin/dump.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/wake.hpp>

#include "support/report_text.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using namespace tocsin::test;

namespace {

// ThreadSanitizer brings a thread of its own, which blocks every signal: the self-check is right to warn of it.
#if defined(__SANITIZE_THREAD__)
constexpr bool only_own_threads = false;
#elif defined(__has_feature)
constexpr bool only_own_threads = !__has_feature(thread_sanitizer);
#else
constexpr bool only_own_threads = true;
#endif

constexpr int impossible_here = 77;  // the child's status where the system does not let it make the problem

// What doctor says in a child that prepares itself first, and what it answers.
struct checkup_text {
    std::vector<std::string> lines;
    int answer = -1;
    bool possible = true;

    bool has(std::string_view text) const {
        for (auto const& line : lines)
            if (line.find(text) != std::string::npos) return true;
        return false;
    }
    std::string all() const {
        std::string text;
        for (auto const& line : lines) text += line + "\n";
        return text;
    }
    std::size_t count(std::string_view level) const {
        return count_of(all(), std::string{"tocsin doctor: "} + std::string{level} + ": ");
    }
};

template <class F>
checkup_text doctor_after(F prepare) {
    auto const result = child::run([&] {
                            auto const kept = prepare();  // what has to live while doctor looks
                            static_cast<void>(kept);
                            say("answer " + std::to_string(doctor(STDOUT_FILENO)));
                        }).wait();
    INFO(result.describe());
    checkup_text found;
    found.possible = !result.exited(impossible_here);
    if (!found.possible) {
        WARN("this system does not let a test make the problem");
        return found;
    }
    REQUIRE(result.exited(0));
    found.lines = lines_of(result.out);
    REQUIRE(found.lines.size() >= 2);
    found.answer = std::stoi(found.lines.back().substr(7));
    found.lines.pop_back();
    return found;
}

void require_possible(bool made) {
    if (!made) ::_exit(impossible_here);
}

void limit_to(int what, rlim_t soft) {
    rlimit limit{};
    ::getrlimit(static_cast<__rlimit_resource>(what), &limit);
    require_possible(soft <= limit.rlim_max);
    limit.rlim_cur = soft;
    require_in_child(::setrlimit(static_cast<__rlimit_resource>(what), &limit) == 0);
}

void thief(int) {}

// A guard that a lambda can hand over.
template <class... Rows>
auto held(Rows... rows) {
    using type = decltype(guard{std::move(rows)...});
    return std::unique_ptr<type>{new type{std::move(rows)...}};
}

auto crash_guard() { return held(on_crash(dump_threads)); }

// Threads that do something and then wait until the process ends.
template <class F>
void start_waiting(unsigned count, F f) {
    std::atomic<unsigned> ready{0};
    for (unsigned i = 0; i < count; ++i)
        std::thread{[&ready, f] {
            f();
            ++ready;
            for (;;) ::pause();
        }}.detach();
    until([&] { return ready == count; });
}

bool core_is_a_file() {
    std::string const pattern = contents_of("/proc/sys/kernel/core_pattern");
    return !pattern.empty() && pattern[0] != '|' && pattern[0] != '@';
}

// From now on the kernel answers this call so.
void filter_call(long call, unsigned action) {
    sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(offsetof(seccomp_data, nr))),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(call), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog const program{sizeof code / sizeof code[0], code};
    require_possible(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                     ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

// A mount namespace of its own, where mounts reach nobody else.
void own_mounts() {
    require_possible(::unshare(CLONE_NEWNS) == 0 || ::unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0);
    require_possible(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
}

}  // namespace

TEST_CASE("where all is well, the self-check says so", "[doctor]") {
    auto const found = doctor_after([] {
        limit_to(RLIMIT_CORE, RLIM_INFINITY);
        require_in_child(::chdir("/tmp") == 0);
        return crash_guard();
    });
    if (!found.possible || !only_own_threads) return;
    INFO(found.all());
    CHECK(found.answer == 0);
    CHECK(found.count("warning") == 0);
    CHECK(found.has("ok: no thread of 1 blocks a fault signal"));
    CHECK(found.has("ok: guards hold SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGSEGV SIGSYS"));
    CHECK(found.has("ok: the calling thread's alternate stack has "));
    CHECK(found.has("ok: no system call of a report is refused"));
}

TEST_CASE("every line can be searched for, and the last one counts them", "[doctor]") {
    auto const found = doctor_after([] { return 0; });
    INFO(found.all());
    for (auto const& line : found.lines) CHECK(line.rfind("tocsin doctor: ", 0) == 0);
    CHECK(found.count("warning") == static_cast<std::size_t>(found.answer));
    CHECK(found.lines.back() == "tocsin doctor: summary: warnings " + std::to_string(found.count("warning")) +
                                    ", notes " + std::to_string(found.count("note")) + ", ok " +
                                    std::to_string(found.count("ok")));
    CHECK(found.has("note: nobody reports SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGSEGV SIGSYS"));
}

TEST_CASE("a thread that blocks fault signals is named", "[doctor]") {
    auto const found = doctor_after([] {
        start_waiting(1, [] {
            ::prctl(PR_SET_NAME, "bad\n\x1b[2Jname");
            sigset_t all;
            ::sigfillset(&all);
            ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
        });
        return crash_guard();
    });
    INFO(found.all());
    CHECK(found.has(" \"bad\\x0a\\x1b[2Jname\" blocks SIGILL SIGTRAP SIGBUS SIGFPE SIGSEGV SIGSYS: "));
    CHECK_FALSE(found.has("ok: no thread"));
}

TEST_CASE("a thread that blocks SIGABRT and what is no fault is not warned of", "[doctor]") {
    auto const found = doctor_after([] {
        start_waiting(1, [] {
            block_signal(SIGABRT);
            block_signal(SIGTERM);
        });
        return crash_guard();
    });
    INFO(found.all());
    if (only_own_threads) CHECK(found.has("ok: no thread of 2 blocks a fault signal"));
}

TEST_CASE("threads that are just being started are not taken for ones that block", "[doctor]") {
    in_child([] {
        std::thread{[] {
            for (;;) std::thread{[] {}}.join();
        }}.detach();
        int ends[2];
        require_in_child(::pipe(ends) == 0);
        for (int i = 0; i < 50; ++i) {
            doctor(ends[1]);
            char text[65536];
            auto const size = ::read(ends[0], text, sizeof text);
            require_in_child(size > 0);
            std::string_view const said{text, static_cast<std::size_t>(size)};
            require_in_child(said.find("ok: no thread of ") != std::string_view::npos || !only_own_threads);
        }
    });
}

TEST_CASE("of many threads that block fault signals the rest is counted", "[doctor]") {
    auto const found = doctor_after([] {
        start_waiting(40, [] { block_signal(SIGFPE); });
        return 0;
    });
    INFO(found.all());
    if (only_own_threads) CHECK(count_of(found.all(), " blocks SIGFPE: ") == 32);
    if (only_own_threads) CHECK(found.has("warning: 8 more threads block fault signals"));
}

TEST_CASE("a thread without an alternate stack is warned of, and one with a small one", "[doctor]") {
    auto const without = doctor_after([] { return 0; });
    CHECK(without.has("warning: the calling thread has no alternate stack"));
    auto const with_small = doctor_after([] {
        static char memory[16384];
        stack_t small{};
        small.ss_sp = memory;
        small.ss_size = sizeof memory;
        require_in_child(::sigaltstack(&small, nullptr) == 0);
        return 0;
    });
    INFO(with_small.all());
    CHECK(with_small.has(
        "warning: the calling thread's alternate stack is too small: 16384 bytes, a report needs "));
    auto const with_others = doctor_after([] {
        start_waiting(3, [] {});
        return crash_guard();
    });
    INFO(with_others.all());
    if (only_own_threads) CHECK(with_others.has("note: whether the 3 other threads have alternate stacks"));
}

TEST_CASE("a handler that was installed over a guard is named", "[doctor]") {
    auto const found = doctor_after([] {
        auto kept = crash_guard();
        ::signal(SIGSEGV, thief);
        return kept;
    });
    INFO(found.all());
    CHECK(
        found.has("warning: SIGSEGV was taken from its guard by (anonymous namespace)::thief(int)+0x0 in "));
    CHECK_FALSE(found.has("SIGBUS was taken"));
}

TEST_CASE("a default that was put over a guard of any signal is told", "[doctor]") {
    auto const found = doctor_after([] {
        auto kept = held(on<SIGUSR1, SIGUSR2>(wake));
        ::signal(SIGUSR1, SIG_DFL);
        return kept;
    });
    INFO(found.all());
    CHECK(found.has("warning: SIGUSR1 was taken from its guard by the default"));
    CHECK_FALSE(found.has("SIGUSR2 was taken"));
    CHECK(found.has("ok: guards hold SIGUSR2"));
}

TEST_CASE("foreign handlers behind a guard, and where there is none, are notes", "[doctor]") {
    auto const behind = doctor_after([] {
        ::signal(SIGBUS, thief);
        return crash_guard();
    });
    INFO(behind.all());
    CHECK(behind.has(
        "note: SIGBUS has a foreign handler behind its guard: (anonymous namespace)::thief(int)+0x0"));
    CHECK_FALSE(behind.has("SIGSEGV has"));
    auto const alone = doctor_after([] {
        ::signal(SIGFPE, thief);
        return 0;
    });
    INFO(alone.all());
    CHECK(
        alone.has("note: SIGFPE has a foreign handler and no guard: (anonymous namespace)::thief(int)+0x0"));
    CHECK(alone.has(", not on the alternate stack"));
    CHECK(alone.has("note: nobody reports SIGILL SIGTRAP SIGABRT SIGBUS SIGSEGV SIGSYS"));
}

TEST_CASE("a crash signal that the parent left ignored is warned of", "[doctor]") {
    auto const alone = doctor_after([] {
        ::signal(SIGABRT, SIG_IGN);
        return 0;
    });
    INFO(alone.all());
    CHECK(alone.has("warning: SIGABRT is ignored"));
    auto const guarded = doctor_after([] {
        ::signal(SIGABRT, SIG_IGN);
        return crash_guard();
    });
    INFO(guarded.all());
    CHECK(guarded.has("warning: SIGABRT was ignored before its guard"));
}

TEST_CASE("a refused system call is told, with what it costs", "[doctor]") {
    auto const found = doctor_after([] {
        filter_call(SYS_rt_tgsigqueueinfo, SECCOMP_RET_ERRNO | EPERM);
        return 0;
    });
    if (!found.possible) return;
    INFO(found.all());
    CHECK(found.has(
        "warning: the system call rt_tgsigqueueinfo is refused, EPERM: the core may lack the cause"));
    CHECK(count_of(found.all(), "the system call ") == 1);
    auto const missing = doctor_after([] {
        filter_call(SYS_tgkill, SECCOMP_RET_ERRNO | ENOSYS);
        return 0;
    });
    CHECK(missing.has("warning: the system call tgkill is refused, ENOSYS: running threads"));
}

TEST_CASE("a system call that ends the process is found out without ending it", "[doctor]") {
    unsigned const action = GENERATE(SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP);
    auto const found = doctor_after([&] {
        static std::atomic<int> handled{0};
        limit_to(RLIMIT_CORE, RLIM_INFINITY);
        require_in_child(::chdir("/proc/self") == 0);  // where no core can be made
        for (int const number : {SIGSYS, SIGCHLD}) ::signal(number, [](int) { ++handled; });
        filter_call(SYS_rt_tgsigqueueinfo, action);
        filter_call(SYS_timer_create, action);
        sigset_t before;
        sigset_t after;
        ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
        require_in_child(doctor(::open("/dev/null", O_WRONLY)) >= 0);
        ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
        require_in_child(same_mask(before, after) && handled == 0);
        require_in_child(::waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD);
        return 0;
    });
    if (!found.possible) return;
    INFO(found.all());
    CHECK(found.has("warning: the system call rt_tgsigqueueinfo ends the process"));
    CHECK(found.has("warning: the system call timer_create ends the process"));
    CHECK_FALSE(found.has("tgkill"));
}

TEST_CASE("where a call that the self-check needs would end the process, it says that and no more",
          "[doctor]") {
    auto const found = doctor_after([] {
        filter_call(SYS_openat, SECCOMP_RET_KILL_PROCESS);
        return 0;
    });
    if (!found.possible) return;
    INFO(found.all());
    CHECK(found.has("warning: the system call openat ends the process"));
    CHECK(found.lines.back() == "tocsin doctor: summary: warnings 1, notes 0, ok 0");
    CHECK(found.answer == 1);
}

TEST_CASE("where nobody may write, the self-check answers so", "[doctor]") {
    auto const result = child::run([] {
                            filter_call(SYS_write, SECCOMP_RET_KILL_PROCESS);
                            return doctor(STDOUT_FILENO) == -EPERM ? 0 : 1;
                        }).wait();
    INFO(result.describe());
    CHECK((result.exited(0) || result.exited(impossible_here)));
}

TEST_CASE("a /proc that is missing or another namespace's is told", "[doctor]") {
    auto const missing = doctor_after([] {
        own_mounts();
        require_possible(::mount("none", "/proc", "tmpfs", 0, nullptr) == 0);
        return 0;
    });
    if (missing.possible) {
        INFO(missing.all());
        CHECK(missing.has("warning: /proc does not show this process: ENOENT"));
    }
    auto const result =
        child::run([] {
            require_possible(::unshare(CLONE_NEWPID) == 0 || ::unshare(CLONE_NEWUSER | CLONE_NEWPID) == 0);
            return WEXITSTATUS(status_of_fork([] { doctor(STDOUT_FILENO); }));
        }).wait();
    INFO(result.describe());
    if (result.exited(impossible_here)) return;
    CHECK(result.exited(0));
    CHECK(result.out.find(
              "warning: /proc belongs to another pid namespace, where process 1 goes by another number") !=
          std::string::npos);
    CHECK(result.out.find("warning: this is process 1 of its pid namespace") != std::string::npos);
}

TEST_CASE("that no core will be written is told", "[doctor]") {
    if (!core_is_a_file()) return;
    auto const by_limit = doctor_after([] { return 0; });
    CHECK(by_limit.has("warning: a crash leaves no core: RLIMIT_CORE is 0"));
    auto const by_place = doctor_after([] {
        limit_to(RLIMIT_CORE, RLIM_INFINITY);
        char place[] = "/tmp/tocsin-doctor-XXXXXX";
        require_in_child(::mkdtemp(place) != nullptr && ::chdir(place) == 0 && ::rmdir(place) == 0);
        return 0;
    });
    INFO(by_place.all());
    if (contents_of("/proc/sys/kernel/core_pattern")[0] != '/')
        CHECK(by_place.has("warning: a crash leaves no core: its directory \".\" cannot be written, ENOENT"));
}

TEST_CASE("a process that is not dumpable is told", "[doctor]") {
    auto const found = doctor_after([] { return ::prctl(PR_SET_DUMPABLE, 0); });
    CHECK(found.has("warning: the process is not dumpable"));
    auto const usual = doctor_after([] { return 0; });
    CHECK_FALSE(usual.has("is not dumpable"));
}

TEST_CASE("a queue of signals with no room is told", "[doctor]") {
    auto const found = doctor_after([] {
        limit_to(RLIMIT_SIGPENDING, 8);
        return 0;
    });
    INFO(found.all());
    CHECK(found.has("warning: almost no room for queued signals"));
    CHECK_FALSE(found.has("the system call timer_create"));
}

TEST_CASE("descriptors that run out are told", "[doctor]") {
    unsigned const left = GENERATE(0U, 3U, 40U);
    auto const found = doctor_after([&] {
        ::close_range(3, ~0U, 0);
        limit_to(RLIMIT_NOFILE, 100);
        int last = -1;
        for (int next; (next = ::dup(STDIN_FILENO)) >= 0;) last = next;
        for (unsigned i = 0; i < left; ++i) ::close(last - static_cast<int>(i));
        return 0;
    });
    INFO(found.all());
    if (left == 0) CHECK(found.has("warning: no descriptor is left"));
    if (left == 3) CHECK(found.has("warning: almost no descriptor is left, 97 of 100 are in use"));
    if (left == 40) CHECK(found.has("ok: 60 of 100 descriptors are in use"));
}

TEST_CASE("a guard's report that nobody would read is told", "[doctor]") {
    int ends[2];
    auto const broken = doctor_after([&] {
        require_in_child(::pipe(ends) == 0);
        auto kept = held(on<SIGQUIT>(dump_threads.to(ends[1])));
        ::close(ends[0]);
        return kept;
    });
    INFO(broken.all());
    CHECK(broken.has(": nobody reads it any more"));
    auto const full = doctor_after([&] {
        require_in_child(::pipe2(ends, O_NONBLOCK) == 0);
        while (::write(ends[1], "", 1) == 1) {
        }
        return held(on<SIGQUIT>(dump_threads.to(ends[1])));
    });
    INFO(full.all());
    CHECK(full.has(": it is full, and nobody reads"));
    auto const read_only =
        doctor_after([] { return held(on<SIGQUIT>(dump_threads.to(::open("/dev/null", O_RDONLY)))); });
    INFO(read_only.all());
    CHECK(read_only.has(" \"/dev/null\": it is not open for writing"));
    auto const good =
        doctor_after([] { return held(on<SIGQUIT>(dump_threads.to(::open("/dev/null", O_WRONLY)))); });
    CHECK(good.has("ok: reports can be written to descriptor "));
}

TEST_CASE("a guard's descriptor that was closed behind it is told", "[doctor]") {
    auto const found = doctor_after([] {
        auto kept = held(on<SIGQUIT>(dump_threads.to(STDERR_FILENO)));
        for (int each = 3; each < 1000; ++each) ::close(each);
        return kept;
    });
    INFO(found.all());
    CHECK(found.has("was closed behind the guard"));
}

TEST_CASE("where a crash would be reported is looked at too", "[doctor]") {
    auto const found =
        doctor_after([] { return held(on_crash(dump_threads.to(::open("/dev/null", O_RDONLY)))); });
    INFO(found.all());
    CHECK(found.has(" \"/dev/null\": it is not open for writing"));
}

TEST_CASE("a directory that no report can be made in is told", "[doctor]") {
    scratch_directory const place;
    auto const guard_there = [](std::string const& directory) {
        return held(on<SIGQUIT>(dump_threads.to_file((directory + "/{pid}.txt").c_str())));
    };
    auto const good = doctor_after([&] { return guard_there(place.path()); });
    INFO(good.all());
    CHECK(good.has("ok: reports \"{pid}.txt\" can be made in their directory"));
    auto const removed = doctor_after([&] {
        std::string const directory = place.file("removed");
        require_in_child(::mkdir(directory.c_str(), 0700) == 0);
        auto kept = guard_there(directory);
        require_in_child(::rmdir(directory.c_str()) == 0);
        return kept;
    });
    INFO(removed.all());
    CHECK(removed.has("warning: the report \"{pid}.txt\" cannot be made: its directory was removed"));
    auto const forbidden = doctor_after([&] {
        auto kept = guard_there(place.path());
        require_in_child(::chmod(place.path().c_str(), 0500) == 0);
        if (::geteuid() == 0) require_possible(::seteuid(65534) == 0);
        return kept;
    });
    if (forbidden.possible) {
        INFO(forbidden.all());
        CHECK(forbidden.has("cannot be made: its directory cannot be written, EACCES"));
    }
    ::chmod(place.path().c_str(), 0700);
}

TEST_CASE("a file system that is full or read-only is told", "[doctor]") {
    bool const full = GENERATE(true, false);
    auto const found = doctor_after([&] {
        own_mounts();
        require_possible(::mount("none", "/tmp", "tmpfs", 0, "size=4k") == 0);
        auto kept = held(on<SIGQUIT>(dump_threads.to_file("/tmp/{pid}.txt")));
        int const fd = ::open("/tmp/filled", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        char const page[4096]{};
        if (full) require_possible(::write(fd, page, sizeof page) == sizeof page);
        ::close(fd);
        if (!full) require_possible(::mount("none", "/tmp", nullptr, MS_REMOUNT | MS_RDONLY, nullptr) == 0);
        return kept;
    });
    if (!found.possible) return;
    INFO(found.all());
    if (full) CHECK(found.has("cannot be made: its file system is full"));
    if (!full) CHECK(found.has("cannot be made: its directory cannot be written, EROFS"));
}

TEST_CASE("without a guard's report, standard error is looked at", "[doctor]") {
    auto const closed = doctor_after([] { return ::close(STDERR_FILENO); });
    CHECK(closed.has("warning: standard error, where reports go unless told otherwise: it is closed"));
    auto const usual = doctor_after([] { return 0; });
    CHECK(usual.has("ok: standard error can be written"));
}

TEST_CASE("the self-check itself answers why it could not be written", "[doctor]") {
    in_child([] {
        int ends[2];
        require_in_child(::pipe(ends) == 0);
        require_in_child(doctor(-1) == -EBADF);
        require_in_child(doctor(ends[0]) == -EBADF);
        require_in_child(doctor(::open("/dev/full", O_WRONLY)) == -ENOSPC);
        ::close(ends[0]);
        require_in_child(doctor(ends[1]) == -EPIPE);  // and no SIGPIPE
    });
}

TEST_CASE("the self-check leaves the process as it was", "[doctor]") {
    in_child([] {
        static std::atomic<int> handled{0};
        auto const kept = guard{on_crash(dump_threads), on<SIGQUIT>(dump_threads)};
        block_signal(SIGUSR2);
        for (int const number : {SIGALRM, SIGCHLD, SIGPIPE, SIGUSR1})
            ::signal(number, [](int) { ++handled; });
        ::raise(SIGUSR2);
        int const null = ::open("/dev/null", O_WRONLY);
        std::vector<struct sigaction> before;
        for (int number = 1; number < NSIG; ++number) before.push_back(action_of(number));
        unsigned const open_before = descriptors();
        unsigned const threads_before = threads();
        sigset_t mask_before;
        sigset_t mask_after;
        stack_t stack_before{};
        stack_t stack_after{};
        ::pthread_sigmask(SIG_SETMASK, nullptr, &mask_before);
        ::sigaltstack(nullptr, &stack_before);
        int const standard_error = ::dup(STDERR_FILENO);
        ::close(STDERR_FILENO);  // something that fails and sets errno
        errno = 4711;
        doctor(null);
        int const errno_after = errno;
        ::dup2(standard_error, STDERR_FILENO);
        ::close(standard_error);
        require_in_child(errno_after == 4711);
        ::pthread_sigmask(SIG_SETMASK, nullptr, &mask_after);
        ::sigaltstack(nullptr, &stack_after);
        require_in_child(same_mask(mask_before, mask_after));
        require_in_child(stack_before.ss_sp == stack_after.ss_sp &&
                         stack_before.ss_size == stack_after.ss_size);
        for (int number = 1; number < NSIG; ++number)
            require_in_child(same_action(before[static_cast<std::size_t>(number - 1)], action_of(number)));
        require_in_child(descriptors() == open_before && threads() == threads_before);
        require_in_child(handled == 0);
        sigset_t pending;
        ::sigpending(&pending);
        require_in_child(::sigismember(&pending, SIGUSR2) == 1);
    });
}

TEST_CASE("an unwinder that takes the loader's lock is named", "[doctor]") {
    char self[4096] = {};
    if (char const* const preloaded = std::getenv("TOCSIN_TEST_UNWINDER")) {
        static_cast<void>(preloaded);
        doctor(STDOUT_FILENO);
        return;
    }
    auto const usual = doctor_after([] { return 0; });
    CHECK_FALSE(usual.has("libunwind.so"));
    bool const sanitized =
        usual.has("a sanitizer is linked");  // which wants to be first among the loaded objects
    if (sanitized || ::access("/usr/lib/x86_64-linux-gnu/libunwind.so.8", R_OK) != 0) return;
    REQUIRE(::readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    auto const result = child::program({"env", "TOCSIN_TEST_UNWINDER=1", "LD_PRELOAD=libunwind.so.8", self,
                                        "an unwinder that takes the loader's lock is named"})
                            .wait();
    INFO(result.describe());
    CHECK(result.out.find("tocsin doctor: warning: _Unwind_Backtrace comes from \"") != std::string::npos);
    CHECK(result.out.find("libunwind.so.8\", which takes the loader's lock") != std::string::npos);
}
