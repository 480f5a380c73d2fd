// SPDX-License-Identifier: MIT
// Reports of a process that goes on: what they say, where they go, and that nobody is disturbed.
#include <tocsin/dump.hpp>

#include <tocsin/chain.hpp>
#include <tocsin/exit_with.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/ignore.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/simulate.hpp>
#include <tocsin/thread_guard.hpp>
#include <tocsin/wake.hpp>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/report_text.hpp"

using namespace tocsin;
using test::child;
using test::reported_thread;
using test::thread_with;

namespace {

bool finish = false;  // read with builtins, which are no functions in an unoptimised program
unsigned long volatile steps = 0;
void stop_work() { __atomic_store_n(&finish, true, __ATOMIC_RELAXED); }

[[noreturn]] void sleep_for_ever() {
    for (;;) ::pause();
}

void block_everything() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
}

// Threads with names that do something until `finish` is set, and that are where they want to be when this returns.
class crew {
  public:
    template <class F>
    void add(char const* name, F work, bool waits = true) {
        std::atomic<int> id{0};
        members_.emplace_back([name, work, &id] {
            thread_guard here{name};
            id = test::thread_id();
            work();
        });
        while (id == 0) ::sched_yield();
        ids.push_back(id);
        if (waits) test::until_asleep(id);
    }
    ~crew() {
        stop_work();
        for (auto& each : members_) each.join();
    }

    std::vector<int> ids;

  private:
    std::vector<std::thread> members_;
};

// A temporary file's descriptor, and what was written to it.
class sink {
  public:
    sink() : fd{::memfd_create("sink", MFD_CLOEXEC)} {}
    ~sink() { ::close(fd); }
    sink(sink const&) = delete;
    sink& operator=(sink const&) = delete;

    std::string text() const { return test::contents_of("/proc/self/fd/" + std::to_string(fd)); }

    int fd;
};

struct pipe_pair {
    int read_end = -1;
    int write_end = -1;

    pipe_pair() {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) == 0) read_end = ends[0], write_end = ends[1];
    }
    void fill() const {
        int const flags = ::fcntl(write_end, F_GETFL);
        ::fcntl(write_end, F_SETFL, flags | O_NONBLOCK);
        char const filling[4096]{};
        while (::write(write_end, filling, sizeof filling) > 0) {
        }
        ::fcntl(write_end, F_SETFL, flags);
    }
    ~pipe_pair() {
        ::close(read_end);
        ::close(write_end);
    }
    pipe_pair(pipe_pair const&) = delete;
    pipe_pair& operator=(pipe_pair const&) = delete;
};

double seconds_of(std::chrono::steady_clock::time_point since) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
}

// True if the report is whole: it has a first and a last line.
bool whole(std::string const& report) {
    return report.rfind("tocsin: ", 0) == 0 && report.find("\ntocsin: end of report, ") != std::string::npos &&
           report.back() == '\n';
}

}  // namespace

// Functions to be found in reports: external, static, and in a namespace without a name.
[[gnu::noinline]] void external_function(int fd) {
    char byte;
    while (::read(fd, &byte, 1) < 0) {
    }
    __asm__ volatile("");  // or the call is the function's last act, and the function not on the stack
}
[[gnu::noinline]] static void static_function(int timeout) {
    ::poll(nullptr, 0, timeout);
    __asm__ volatile("");
}
namespace {
[[gnu::noinline]] void busy_function() {
    while (!__atomic_load_n(&finish, __ATOMIC_RELAXED)) steps = steps + 1;
}
}  // namespace

TEST_CASE("SIGQUIT reports every thread by name, with the functions it is in, and the process goes on", "[dump]") {
    auto subject = child::run([] {
        guard signals{on<SIGQUIT>(dump_threads)};
        pipe_pair quiet;
        crew threads;
        threads.add("reads", [&] { external_function(quiet.read_end); });
        threads.add("polls", [&] { static_function(-1); });
        threads.add("runs", [] { busy_function(); }, false);
        test::say("ready");
        test::wait_for_parent();
        test::say("alive");
        ::_exit(0);
    });
    REQUIRE(subject.expect_line("ready"));
    for (int i = 0; i < 3; ++i) {
        subject.signal(SIGQUIT);
        REQUIRE(subject.expect_error_line("tocsin: end of report, 5 threads"));
    }
    subject.close_input();
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    CHECK(end.out.find("alive") != std::string::npos);
    CHECK(end.err.find("tocsin: SIGQUIT sent by process " + std::to_string(::getpid()) + " of user ") == 0);
    CHECK(thread_with(end.err, "\"reads\":").names("external_function(int)"));
    CHECK(thread_with(end.err, "\"reads\":").names("read+0x"));
    CHECK(thread_with(end.err, "\"polls\":").names("static_function(int)"));
    CHECK(thread_with(end.err, "\"runs\":").frame_is(0, "(anonymous namespace)::busy_function()"));
    CHECK(thread_with(end.err, "\"tocsin-report\"").head.find(": writes this report") != std::string::npos);
    CHECK(thread_with(end.err, "which took the signal").names("read+0x"));
}

TEST_CASE("the thread that took the signal is shown where it was interrupted, not in the handler", "[dump]") {
    auto subject = child::run([] {
        guard signals{on<SIGQUIT>(dump_threads)};
        test::say("ready");
        busy_function();
    });
    REQUIRE(subject.expect_line("ready"));
    subject.signal(SIGQUIT);
    REQUIRE(subject.expect_error_line("tocsin: end of report"));
    subject.signal(SIGKILL);
    auto const& end = subject.wait();
    INFO(end.describe());
    reported_thread const first = thread_with(end.err, "which took the signal");
    CHECK(first.frame_is(0, "(anonymous namespace)::busy_function()"));
    CHECK(end.err.find("tocsin_entry") == std::string::npos);
}

TEST_CASE("threads that wait are read and not disturbed: no call fails with EINTR over 50 reports", "[dump]") {
    auto subject = child::run([] {
        static std::atomic<int> disturbed{0};
        pipe_pair quiet;
        int const events = ::epoll_create1(EPOLL_CLOEXEC);
        std::mutex taken;
        std::condition_variable never;
        taken.lock();
        crew threads;
        auto const again = [](auto const& wait) {
            while (wait() < 0 && errno == EINTR) ++disturbed;
        };
        threads.add("polls", [&] { again([&] {
            pollfd what{quiet.read_end, POLLIN, 0};
            return ::poll(&what, 1, -1);
        }); });
        threads.add("epolls", [&] { again([&] {
            epoll_event what{};
            return ::epoll_wait(events, &what, 1, 100'000);
        }); });
        threads.add("naps", [&] { again([&] {
            timespec const hour{3600, 0};
            return ::nanosleep(&hour, nullptr);
        }); });
        threads.add("reads", [&] { again([&] {
            char byte;
            return ::read(quiet.read_end, &byte, 1);
        }); });
        threads.add("locks", [&] { taken.lock(); });
        sink report;
        for (int i = 0; i < 50; ++i) test::require_in_child(dump(report.fd) == 0);
        test::require_in_child(disturbed == 0);
        test::say(report.text().substr(0, 20'000));
        ::_exit(0);
    });
    auto const& end = subject.wait();
    INFO(end.describe().substr(0, 20'000));
    CHECK(end.exited(0));
    CHECK(thread_with(end.out, "\"polls\":").waits_in("__poll"));
    CHECK(thread_with(end.out, "\"epolls\":").waits_in("epoll_wait"));
    CHECK(thread_with(end.out, "\"naps\":").waits_in("clock_nanosleep"));
    CHECK(thread_with(end.out, "\"reads\":").waits_in("read"));
    CHECK(thread_with(end.out, "\"locks\":").names("mutex_lock"));
}

TEST_CASE("a thread that runs with every signal blocked is listed with the reason, in time and unharmed", "[dump]") {
    auto subject = child::run([] {
        static std::atomic<bool> open{false};
        {
            guard signals{on<SIGQUIT>(dump_threads)};
            crew threads;
            threads.add("deaf", [] {
                block_everything();
                test::until_set(open);
                busy_function();
            }, false);
            threads.add("hears", [] { ::poll(nullptr, 0, 0), busy_function(); }, false);
            open = true;
            auto const start = std::chrono::steady_clock::now();
            test::require_in_child(dump(2) == 0);
            test::require_in_child(seconds_of(start) < 2.0);
            stop_work();
        }
        ::_exit(0);
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    reported_thread const deaf = thread_with(end.err, "\"deaf\"");
    CHECK(deaf.head.find(": no stack, it runs with the library's signal blocked (state R)") != std::string::npos);
    CHECK(thread_with(end.err, "\"hears\":").frames.size() > 1);
}

TEST_CASE("a blocked capture signal does not outlive the guard: whoever opens its mask later lives", "[dump]") {
    auto subject = child::run([] {
        static std::atomic<bool> open{false};
        static std::atomic<int> deaf{0};
        {
            std::unique_ptr<std::thread> thread;
            guard signals{on<SIGQUIT>(dump_threads)};
            std::thread{[] {
                deaf = test::thread_id();
                block_everything();
                test::until_set(open);
                sigset_t none;
                ::sigemptyset(&none);
                ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
                test::say("alive");
                ::_exit(0);
            }}.detach();
            while (deaf == 0) ::sched_yield();
            // as if the thread had blocked it between the look at its mask and the sending
            int const number = in_signal::the_table.load()->reserved_signal.load();
            ::syscall(SYS_tgkill, ::getpid(), deaf.load(), number);
        }
        open = true;
        sleep_for_ever();
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    CHECK(end.out == "alive\n");
}

TEST_CASE("threads that dump without a pause keep no other thread from it", "[dump]") {
    auto subject = child::run([] {
        int const nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
        std::atomic<int> written{0};
        for (int i = 0; i < 2; ++i)
            std::thread{[&] {
                for (;;)
                    if (dump(nowhere) == 0) ++written;
            }}.detach();
        for (int i = 0; i < 10; ++i) {
            int const before = written.load();
            while (written.load() == before) ::sched_yield();
            test::require_in_child(dump(nowhere) == 0);
            test::require_in_child(written.load() - before < 30);
        }
        ::_exit(0);
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}

TEST_CASE("a thread that waits with every signal blocked has a stack", "[dump]") {
    auto subject = child::run([] {
        crew threads;
        threads.add("deaf", [] {
            block_everything();
            static_function(-1);
        });
        int const result = dump(1);
        ::_exit(result);
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    CHECK(thread_with(end.out, "\"deaf\":").waits_in("__poll"));
    CHECK(thread_with(end.out, "\"deaf\":").names("static_function(int)"));
}

TEST_CASE("a hundred threads, waiting and running, are all in the report", "[dump]") {
    auto subject = child::run([] {
        crew threads;
        for (int i = 0; i < 90; ++i) threads.add("waits", [] { static_function(-1); });
        for (int i = 0; i < 10; ++i) threads.add("runs", [] { busy_function(); }, false);
        int const result = dump(1);
        ::_exit(result);
    });
    auto const& end = subject.wait();
    INFO(end.describe().substr(0, 4000));
    CHECK(end.exited(0));
    CHECK(end.out.find("tocsin: end of report, 101 threads\n") != std::string::npos);
    for (auto const& each : test::threads_of(end.out)) {
        if (each.head.find("\"waits\"") != std::string::npos) CHECK(each.names("static_function(int)"));
        if (each.head.find("\"runs\"") != std::string::npos) CHECK(each.names("busy_function()"));
    }
    CHECK(test::count_of(end.out, "\"waits\"") == 90);
    CHECK(test::count_of(end.out, "\"runs\"") == 10);
    CHECK(end.out.find("\"waits\" and 89 others at the same place:") != std::string::npos);
}

TEST_CASE("at the limit of queued signals a running thread is asked by a standard one, which is given back", "[dump]") {
    auto subject = child::run([] {
        guard signals{on<SIGUSR1>(dump_threads)};
        crew threads;
        threads.add("runs", [] { busy_function(); }, false);
        rlimit const none{0, 0};
        test::require_in_child(::setrlimit(RLIMIT_SIGPENDING, &none) == 0);
        int const result = dump(1);
        for (int const lent : {SIGURG, SIGWINCH}) {
            struct sigaction now {};
            ::sigaction(lent, nullptr, &now);
            test::require_in_child(now.sa_handler == SIG_DFL);
        }
        return result;
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    CHECK(thread_with(end.out, "\"runs\"").names("busy_function()"));
}

TEST_CASE("a thousand threads, alike and unlike, are all accounted for", "[dump]") {
    auto subject = child::run([] {
        pthread_attr_t small;
        ::pthread_attr_init(&small);
        ::pthread_attr_setstacksize(&small, 65536);
        for (int i = 0; i < 1000; ++i) {
            pthread_t made;
            auto const body = [](void* which) -> void* {
                if (which != nullptr) static_function(-1);
                sleep_for_ever();
            };
            test::require_in_child(::pthread_create(&made, &small, body, i % 2 == 0 ? &made : nullptr) == 0);
        }
        for (auto const& thread : test::names_in("/proc/self/task"))
            if (std::stoi(thread) != ::getpid()) test::until_asleep(std::stoi(thread));
        return dump(1);
    });
    auto const& end = subject.wait();
    INFO(end.describe().substr(0, 4000));
    CHECK(end.exited(0));
    CHECK(end.out.find("tocsin: end of report, 1001 threads\n") != std::string::npos);
    CHECK(test::count_of(end.out, " and 499 others at the same place") == 2);
    CHECK(test::count_of(end.out, " \"dump") + test::count_of(end.out, " \"units") == 1001);
}

TEST_CASE("a thread's name cannot forge a line, close its quotes or move a cursor", "[dump]") {
    auto subject = child::run([] {
        thread_guard here{"\x1b[2J\n\"x\\\xff"};
        return dump(1);
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    CHECK(end.out.find("\"\\x1b[2J\\x0a\\x22x\\x5c\\xff\"") != std::string::npos);
    for (char const c : end.out) CHECK((c == '\n' || in_signal::printable(c)));
}

TEST_CASE("a report to a descriptor that is closed is refused when the guard is made", "[dump]") {
    try {
        guard signals{on<SIGQUIT>(dump_threads.to(987))};
        FAIL("no error");
    } catch (error const& refused) {
        CHECK(refused.code() == EBADF);
        CHECK(std::string{refused.what()}.find("dump_threads.to(fd)") != std::string::npos);
    }
    int ec = 0;
    guard signals{ec, on<SIGQUIT>(dump_threads.to(-1))};
    CHECK(ec == EBADF);
    CHECK_FALSE(signals);
}

TEST_CASE("a descriptor closed and reused after the guard was made: the report goes where it was to go", "[dump]") {
    test::scratch_directory place;
    auto subject = child::run([&] {
        guard signals{on<SIGQUIT>(dump_threads)};
        ::close(2);
        int const file = ::open(place.file("data").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        test::require_in_child(file == 2);
        test::say("ready");
        test::wait_for_parent();
    });
    REQUIRE(subject.expect_line("ready"));
    subject.signal(SIGQUIT);
    REQUIRE(subject.expect_error_line("tocsin: end of report"));
    subject.close_input();
    CHECK(subject.wait().exited(0));
    CHECK(test::contents_of(place.file("data")).empty());
}

TEST_CASE("if the program has closed our duplicate too, nothing is written to what has its number now", "[dump]") {
    test::scratch_directory place;
    auto subject = child::run([&] {
        guard signals{on<SIGQUIT>(dump_threads), on<SIGTERM>(dump_threads, exit_with(7))};
        for (int fd = 3; fd < 300; ++fd) ::close(fd);  // what daemons do
        std::vector<int> files;
        for (int i = 3; i < 300; ++i)
            files.push_back(::open(place.file("data").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
        simulate(SIGQUIT);
        simulate(SIGTERM);
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(7));
    CHECK(test::contents_of(place.file("data")).empty());
}

TEST_CASE("dump answers with what was refused, and keeps errno", "[dump]") {
    errno = ERANGE;
    CHECK(dump(-1) == EBADF);
    CHECK(dump(987) == EBADF);
    int const only_read = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK(dump(only_read) == EBADF);
    ::close(only_read);
    sink report;
    errno = ERANGE;
    CHECK(dump(report.fd) == 0);
    CHECK(errno == ERANGE);
    CHECK(whole(report.text()));
}

TEST_CASE("dump shows the calling thread first, on the main thread and on a worker", "[dump]") {
    auto subject = child::run([] {
        sink from_main;
        sink from_worker;
        test::require_in_child(dump(from_main.fd) == 0);
        std::thread{[&] {
            thread_guard here{"worker"};
            test::require_in_child(dump(from_worker.fd) == 0);
        }}.join();
        test::say(from_main.text() + "-----\n" + from_worker.text());
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    REQUIRE(end.exited(0));
    std::size_t const between = end.out.find("-----\n");
    auto const main = test::threads_of(end.out.substr(0, between));
    auto const worker = test::threads_of(end.out.substr(between));
    CHECK(end.out.find("tocsin: report on request, process " + std::to_string(subject.pid())) == 0);
    REQUIRE(main.size() == 1);
    CHECK(main[0].frame_is(0, "tocsin::dump(int)"));
    CHECK(main[0].names("main+0x"));
    REQUIRE(worker.size() == 2);
    CHECK(worker[0].head.find("\"worker\"") != std::string::npos);
    CHECK(worker[1].names("main+0x"));
}

TEST_CASE("dump works inside a handler, with no more than a guard beforehand", "[dump]") {
    static int to = -1;
    auto subject = child::run([] {
        sink report;
        to = report.fd;
        guard signals{on<SIGQUIT>(dump_threads), on<SIGUSR1>(in_handler([](delivery const&) noexcept {
                          int const result = dump(to);
                          if (result != 0) ::_exit(result);
                      }))};
        // the handler may have interrupted whoever holds the library's own lock
        posix::table_lock const held{*in_signal::the_table.load()};
        ::raise(SIGUSR1);
        test::say(report.text());
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    CHECK(whole(end.out.substr(0, end.out.size() - 1)));
    CHECK(test::threads_of(end.out)[0].names("raise"));
    CHECK(test::threads_of(end.out)[0].names("main+0x"));
}

TEST_CASE("two threads that dump at once both write a whole report", "[dump]") {
    auto subject = child::run([] {
        sink one;
        sink two;
        std::thread other{[&] {
            for (int i = 0; i < 20; ++i) test::require_in_child(dump(one.fd) == 0);
        }};
        for (int i = 0; i < 20; ++i) test::require_in_child(dump(two.fd) == 0);
        other.join();
        for (auto const& text : {one.text(), two.text()}) {
            test::require_in_child(test::count_of(text, "tocsin: report on request") == 20);
            test::require_in_child(test::count_of(text, "tocsin: end of report") == 20);
        }
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}

TEST_CASE("a full pipe costs a report a few seconds, and nobody else anything", "[dump]") {
    auto subject = child::run([] {
        pipe_pair full;
        full.fill();
        auto const start = std::chrono::steady_clock::now();
        test::require_in_child(dump(full.write_end) == ETIMEDOUT);
        test::require_in_child(seconds_of(start) < 6.0);
        auto const again = std::chrono::steady_clock::now();
        {
            guard signals{on<SIGQUIT>(dump_threads.to(full.write_end))};
            simulate(SIGQUIT);
            test::require_in_child(seconds_of(again) < 2.0);  // the reporter waits, not this thread
        }
        test::require_in_child(seconds_of(again) < 8.0);
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}

TEST_CASE("a broken pipe is an error of the report; no SIGPIPE arrives or stays pending", "[dump]") {
    auto subject = child::run([] {
        pipe_pair broken;
        ::close(std::exchange(broken.read_end, -1));
        test::require_in_child(dump(broken.write_end) == EPIPE);
        sigset_t pending;
        ::sigpending(&pending);
        test::require_in_child(::sigismember(&pending, SIGPIPE) == 0);
        guard signals{on<SIGQUIT>(dump_threads.to(broken.write_end)), on<SIGTERM>(dump_threads, exit_with(7))};
        simulate(SIGQUIT);
        simulate(SIGTERM);
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(7));
}

TEST_CASE("to(fd) reports to that descriptor", "[dump]") {
    auto subject = child::run([] {
        guard signals{on<SIGQUIT>(dump_threads.to(1))};
        test::say("ready");
        test::wait_for_parent();
    });
    REQUIRE(subject.expect_line("ready"));
    subject.signal(SIGQUIT);
    CHECK(subject.expect_line("tocsin: end of report"));
    subject.close_input();
    CHECK(subject.wait().err.empty());
}

TEST_CASE("this_thread() shows the thread that took the signal, and nobody else", "[dump]") {
    auto subject = child::run([] {
        guard signals{on<SIGQUIT>(dump_threads.this_thread())};
        test::say("ready");
        test::wait_for_parent();
    });
    REQUIRE(subject.expect_line("ready"));
    subject.signal(SIGQUIT);
    CHECK(subject.expect_error_line("tocsin: end of report, 1 thread"));
    subject.close_input();
    CHECK(thread_with(subject.wait().err, "which took the signal").names("read+0x"));
}

TEST_CASE("signals that arrive while a report is written are one report, which counts them", "[dump]") {
    auto subject = child::run([] {
        guard signals{on<SIGQUIT>(dump_threads)};
        {
            in_signal::report_turn const busy{*in_signal::desk_of(*in_signal::the_table.load())};
            test::require_in_child(busy.taken());
            for (int i = 0; i < 6; ++i) ::raise(SIGQUIT);
        }
        test::say("ready");
        test::wait_for_parent();
    });
    REQUIRE(subject.expect_line("ready"));
    std::size_t arrived = 0;
    std::size_t reports = 0;
    while (arrived < 6 && subject.expect_error_line("tocsin: SIGQUIT")) {
        ++reports;
        std::string title = subject.err().substr(subject.err().rfind("tocsin: SIGQUIT"));
        title.resize(title.find('\n'));
        std::size_t const times = title.find(" times");
        arrived += times == std::string::npos ? 1 : std::stoul(title.substr(title.rfind(' ', times - 1)));
        REQUIRE(subject.expect_error_line("end of report"));
    }
    subject.close_input();
    CHECK(subject.wait().exited(0));
    CHECK(arrived == 6);
    CHECK(reports <= 2);
}

TEST_CASE("with default_disposition the report is out before the process dies of the signal", "[dump]") {
    auto subject = child::run([] {
        guard signals{on<SIGTERM>(dump_threads, default_disposition)};
        ::raise(SIGTERM);
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGTERM));
    CHECK(whole(end.err));
    CHECK(thread_with(end.err, "which took the signal").names("raise"));
    CHECK(end.err.find("tocsin_entry") == std::string::npos);
}

TEST_CASE("with exit_with the report is out before the process exits", "[dump]") {
    auto subject = child::run([] {
        guard signals{on<SIGTERM>(dump_threads, exit_with(5))};
        crew threads;
        for (int i = 0; i < 20; ++i) threads.add("waits", [] { static_function(-1); });
        ::raise(SIGTERM);
    });
    auto const& end = subject.wait();
    INFO(end.describe().substr(0, 2000));
    CHECK(end.exited(5));
    CHECK(whole(end.err));
    CHECK(test::count_of(end.err, "\"waits\"") == 20);
}

TEST_CASE("in a forked child nothing is reported to what the parent has, until it is made live again", "[dump]") {
    auto subject = child::run([] {
        guard signals{on<SIGQUIT>(dump_threads)};
        pid_t const pid = ::fork();
        if (pid == 0) {
            ::raise(SIGQUIT);
            signals.rearm();
            test::say("rearmed");
            ::raise(SIGQUIT);
            test::wait_for_parent();
            ::_exit(0);
        }
        int status = 0;
        ::waitpid(pid, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    });
    REQUIRE(subject.expect_line("rearmed"));
    REQUIRE(subject.expect_error_line("tocsin: end of report"));
    subject.close_input();
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    CHECK(test::count_of(end.err, "tocsin: SIGQUIT") == 1);
}

TEST_CASE("guards may come and go while reports are asked for and written", "[dump]") {
    auto subject = child::run([] {
        crew threads;
        for (int i = 0; i < 3; ++i) threads.add("runs", [] { busy_function(); }, false);
        sink report;
        for (int i = 0; i < 50; ++i) {
            guard signals{on<SIGQUIT>(dump_threads.to(report.fd))};
            ::raise(SIGQUIT);
        }
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}

TEST_CASE("after the last guard the library's signal has its default disposition again", "[dump]") {
    auto subject = child::run([] {
        auto const dispositions = [] {
            std::vector<void (*)(int)> all;
            for (int number = 1; number < NSIG; ++number) {
                struct sigaction now {};
                ::sigaction(number, nullptr, &now);
                all.push_back(now.sa_handler);
            }
            return all;
        };
        auto const before = dispositions();
        for (int i = 0; i < 2; ++i) {
            guard outer{on<SIGQUIT>(dump_threads)};
            test::require_in_child(dispositions() != before);
            guard inner{on<SIGUSR1>(dump_threads)};
        }
        test::require_in_child(dispositions() == before);
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}

// --- Files -------------------------------------------------------------------------------------------------

namespace {

// Runs a child in `place` with a report to the file `path`, and makes it report once.
test::outcome report_to_file(test::scratch_directory const& place, std::string const& path,
                             void (*between)() = nullptr) {
    auto subject = child::run([&] {
        test::require_in_child(::chdir(place.path().c_str()) == 0);
        guard signals{on<SIGTERM>(dump_threads.to_file(path.c_str()), exit_with(5))};
        if (between != nullptr) between();
        ::raise(SIGTERM);
    });
    return subject.wait();
}

}  // namespace

TEST_CASE("to_file makes a new file for its owner only, with pid and time in its name", "[dump]") {
    test::scratch_directory place;
    time_t const before = ::time(nullptr);
    auto subject = child::run([&] {
        guard signals{on<SIGQUIT>(dump_threads.to_file((place.path() + "/crash-{pid}-{time}.txt").c_str())),
                      on<SIGTERM>(exit_with(5))};
        ::umask(0);
        simulate(SIGQUIT);
        while (test::names_in(place.path()).empty()) ::sched_yield();
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    CHECK(end.err.empty());
    auto const names = test::names_in(place.path());
    REQUIRE(names.size() == 1);
    bool in_time = false;
    for (time_t at = before; at <= ::time(nullptr); ++at) {
        char text[32];
        tm parts{};
        ::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", ::gmtime_r(&at, &parts));
        in_time = in_time || names[0] == "crash-" + std::to_string(subject.pid()) + "-" + text + ".txt";
    }
    CHECK(in_time);
    CHECK(whole(test::contents_of(place.file(names[0]))));
    struct stat about {};
    REQUIRE(::stat(place.file(names[0]).c_str(), &about) == 0);
    CHECK((about.st_mode & 07777) == 0600);
}

TEST_CASE("whatever has been planted at the file's name is left alone, and the report gets another name", "[dump]") {
    enum planted_object { existing, symbolic, dangling, hard_link, fifo };
    planted_object const planted = GENERATE(existing, symbolic, dangling, hard_link, fifo);
    test::scratch_directory place;
    test::scratch_directory elsewhere;
    std::string const victim = elsewhere.file("victim");
    std::string const path = place.file("report");
    ::close(::open(victim.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    if (planted == existing) ::close(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    if (planted == symbolic) REQUIRE(::symlink(victim.c_str(), path.c_str()) == 0);
    if (planted == dangling) REQUIRE(::symlink(elsewhere.file("new").c_str(), path.c_str()) == 0);
    if (planted == hard_link) REQUIRE(::link(victim.c_str(), path.c_str()) == 0);
    if (planted == fifo) REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    auto const end = report_to_file(place, "report");
    INFO(planted << end.describe());
    CHECK(end.exited(5));
    CHECK(end.err.empty());
    CHECK(test::contents_of(victim).empty());
    CHECK(::access(elsewhere.file("new").c_str(), F_OK) != 0);
    if (planted == existing) CHECK(test::contents_of(path).empty());
    CHECK(whole(test::contents_of(path + ".1")));
}

TEST_CASE("the directory of a file is the one that was there when the guard was made", "[dump]") {
    test::scratch_directory place;
    auto const end = report_to_file(place, "report", [] { test::require_in_child(::chdir("/") == 0); });
    CHECK(end.exited(5));
    CHECK(whole(test::contents_of(place.file("report"))));
}

TEST_CASE("a file that cannot be made any more is a report to standard error", "[dump]") {
    test::scratch_directory place;
    auto const end = report_to_file(place, "report", [] {
        rlimit const none{0, 0};
        ::setrlimit(RLIMIT_NOFILE, &none);
    });
    INFO(end.describe());
    CHECK(end.exited(5));
    CHECK(whole(end.err));
    CHECK(test::names_in(place.path()).empty());
}

TEST_CASE("a file does not need a standard error", "[dump]") {
    test::scratch_directory place;
    auto subject = child::run([&] {
        ::close(2);
        guard signals{on<SIGTERM>(dump_threads.to_file(place.file("report").c_str()), exit_with(5))};
        ::raise(SIGTERM);
    });
    CHECK(subject.wait().exited(5));
    CHECK(whole(test::contents_of(place.file("report"))));
}

TEST_CASE("a file that can never be made is refused when the guard is made", "[dump]") {
    auto const refused = [](std::string const& path) {
        int ec = 0;
        guard signals{ec, on<SIGQUIT>(dump_threads.to_file(path.c_str()))};
        return ec;
    };
    CHECK(refused("/nonexistent/report") == ENOENT);
    CHECK(refused("/dev/null/report") == ENOTDIR);
    CHECK(refused("/tmp/") == EINVAL);
    CHECK(refused("") == EINVAL);
    CHECK(refused("/tmp/{host}") == EINVAL);
    CHECK(refused("/tmp/{pid") == EINVAL);
    CHECK(refused("/tmp/" + std::string(201, 'x')) == ENAMETOOLONG);
    CHECK(refused("/" + std::string(5000, 'x') + "/report") == ENAMETOOLONG);
    CHECK(refused("/tmp/" + std::string(200, 'x')) == 0);
}

TEST_CASE("a name that becomes too long once it is filled in is a report to standard error", "[dump]") {
    test::scratch_directory place;
    std::string path;
    for (int i = 0; i < 33; ++i) path += "{time}";
    auto const end = report_to_file(place, path);
    INFO(end.describe());
    CHECK(end.exited(5));
    CHECK(whole(end.err));
    CHECK(test::names_in(place.path()).empty());
}

TEST_CASE("many reports in one second each have a file of their own", "[dump]") {
    test::scratch_directory place;
    auto subject = child::run([&] {
        guard signals{on<SIGUSR1>(dump_threads.to_file(place.file("report").c_str()).this_thread(), chain)};
        for (int i = 0; i < 20; ++i) ::raise(SIGUSR1);
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    auto const names = test::names_in(place.path());
    CHECK(names.size() == 20);
    for (auto const& name : names) CHECK(whole(test::contents_of(place.file(name))));
}
