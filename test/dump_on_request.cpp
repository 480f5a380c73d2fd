// SPDX-License-Identifier: MIT
#include <tocsin/dump_on_request.hpp>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include <tocsin/error.hpp>
#include <tocsin/forms.hpp>

#include "support/report_text.hpp"
#include "support/signals.hpp"

using namespace tocsin;
using namespace std::chrono_literals;
using namespace tocsin::test;

namespace {

int call_at(std::string const& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size());
    bool const abstract = path[0] == '@';
    if (abstract) address.sun_path[0] = '\0';
    auto const size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1));
    int const fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    void const* const generic = &address;
    if (::connect(fd, static_cast<sockaddr const*>(generic), size) == 0) return fd;
    int const reason = errno;
    ::close(fd);
    errno = reason;
    return -1;
}

// All that comes until the other side ends it.
std::string hear_all(int fd) {
    std::string text;
    char buffer[4096];
    for (ssize_t got;;) {
        pollfd ready{fd, POLLIN, 0};
        if (::poll(&ready, 1, static_cast<int>(patience.count())) < 0 && errno == EINTR) continue;
        got = ::read(fd, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) text += "\nread: " + std::string{std::strerror(errno)};
        if (got <= 0) break;
        text.append(buffer, static_cast<std::size_t>(got));
    }
    ::close(fd);
    return text;
}
std::string ask(std::string const& path) {
    int const fd = call_at(path);
    return fd < 0 ? "connect: " + std::string{std::strerror(errno)} : hear_all(fd);
}

bool is_report(std::string const& text) {
    return text.find("report on request") != std::string::npos && text.find("end of report") != std::string::npos;
}
void require_report(std::string const& text, int line = __builtin_LINE()) {
    if (!is_report(text)) ::dprintf(2, "line %d: no report: %s\n", line, text.c_str());
    require_in_child(is_report(text));
}

bool exists(std::string const& path) {
    struct stat file {};
    return ::lstat(path.c_str(), &file) == 0;
}
void touch(std::string const& path, int mode = 0600) {
    int const fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, mode);
    require_in_child(fd >= 0);
    ::close(fd);
}

std::string mine(char const* before, char const* after = "") { return before + std::to_string(::getpid()) + after; }

// The library's thread of this name; 0 if there is none.
int thread_called(std::string const& name) {
    for (auto const& each : names_in("/proc/self/task"))
        if (contents_of("/proc/self/task/" + each + "/comm") == name + "\n") return std::stoi(each);
    return 0;
}
std::string status_of(int thread, std::string const& field) {
    for (auto const& each : lines_of(contents_of("/proc/self/task/" + std::to_string(thread) + "/status")))
        if (each.rfind(field, 0) == 0) return each.substr(field.size());
    return {};
}

template <class... Words>
bool is_refused(char const* path, int code, char const* call, Words... words) {
    try {
        dump_on_request const here{path, words...};
    } catch (error const& e) {
        if (e.code() == code && std::strcmp(e.call(), call) == 0) return true;
        ::dprintf(2, "%s\n", e.what());
    }
    return false;
}

}  // namespace

TEST_CASE("who connects to the socket gets a report of all threads, and its end", "[dump_on_request]") {
    scratch_directory place;
    in_child([&] {
        std::atomic<bool> done{false};
        std::thread other{[&] {
            ::pthread_setname_np(::pthread_self(), "the-other");
            while (!done) ::poll(nullptr, 0, 50);
        }};
        {
            dump_on_request const here{place.file("x-{pid}.sock").c_str()};
            require_in_child(here.path() == place.file(mine("x-", ".sock")));
            for (int round = 0; round < 3; ++round) {
                std::string const report = ask(here.path());
                require_report(report);
                require_in_child(thread_with(report, "the-other").head.size() != 0);
                require_in_child(threads_of(report)[0].head.find(std::to_string(::getpid())) != std::string::npos);
            }
        }
        done = true;
        other.join();
        require_in_child(!exists(place.file(mine("x-", ".sock"))));
    });
}

TEST_CASE("the report has the form that dump_threads says, and may be of the first thread only", "[dump_on_request]") {
    scratch_directory place;
    in_child([&] {
        dump_on_request const here{place.file("json").c_str(), dump_threads.as(json).this_thread()};
        std::string const report = ask(here.path());
        for (auto const& line : lines_of(report)) {
            if (line.front() == '{' && line.back() == '}') continue;
            ::dprintf(2, "%s\n", report.c_str());
            ::_exit(99);
        }
        require_in_child(report.find("\"request\"") != std::string::npos);
        require_in_child(report.find("tocsin-request") == std::string::npos);
    });
}

TEST_CASE("a caller who talks is not told that the connection was reset", "[dump_on_request]") {
    scratch_directory place;
    in_child([&] {
        dump_on_request const here{place.file("s").c_str()};
        int fd = call_at(here.path());
        while (::send(fd, "dump\n", 5, MSG_NOSIGNAL) != 5) {  // the report was faster
            ::close(fd);
            fd = call_at(here.path());
        }
        std::string const report = hear_all(fd);
        require_report(report);
        require_in_child(report.find("read: ") == std::string::npos);
    });
}

TEST_CASE("a file is a request, and gone once its report is complete", "[dump_on_request]") {
    scratch_directory place;
    in_child([&] {
        std::string const file = place.file("ask");
        dump_on_request const here{file.c_str(), request_file};
        touch(place.file("another"));
        touch(file);
        until([&] { return !exists(file); });
        require_report(contents_of(file + ".report"));
        touch(place.file("prepared"));
        require_in_child(::rename(place.file("prepared").c_str(), file.c_str()) == 0);
        until([&] { return !exists(file); });
        require_report(contents_of(file + ".report.1"));
        struct stat found {};
        require_in_child(::stat((file + ".report").c_str(), &found) == 0 && (found.st_mode & 0777) == 0600);
        require_in_child(names_in(place.path()).size() == 3);
    });
}

TEST_CASE("a file's report goes where dump_threads says", "[dump_on_request]") {
    scratch_directory place;
    in_child([&] {
        std::string const file = place.file("ask-{pid}");
        int ends[2];
        require_in_child(::pipe2(ends, O_CLOEXEC) == 0);
        {
            dump_on_request const here{file.c_str(), request_file, dump_threads.to(ends[1])};
            ::close(ends[1]);
            touch(here.path());
            until([&] { return !exists(here.path()); });
        }
        require_report(hear_all(ends[0]));
        dump_on_request const here{file.c_str(), request_file, dump_threads.to_file(place.file("r-{pid}").c_str())};
        touch(here.path());
        until([&] { return !exists(here.path()); });
        require_report(contents_of(place.file(mine("r-"))));
    });
}

TEST_CASE("what lies there already, a link and a directory are no requests", "[dump_on_request]") {
    scratch_directory place;
    in_child([&] {
        std::string const file = place.file("ask");
        std::string const other = place.file("other");
        touch(file);
        dump_on_request const here{file.c_str(), request_file};
        dump_on_request const witness{place.file("witness").c_str(), request_file};
        auto const look = [&] {  // of the same directory, and asked for later
            touch(witness.path());
            until([&] { return !exists(witness.path()); });
        };
        look();
        require_in_child(exists(file) && !exists(file + ".report"));
        ::unlink(file.c_str());
        touch(other);
        require_in_child(::symlink(other.c_str(), place.file("link").c_str()) == 0);
        require_in_child(::rename(place.file("link").c_str(), file.c_str()) == 0);
        look();
        require_in_child(exists(file) && exists(other) && !exists(file + ".report"));
    });
}

TEST_CASE("the socket is its owner's, from the first moment and whatever the umask is", "[dump_on_request]") {
    scratch_directory place;
    in_child([&] {
        ::umask(0);
        dump_on_request const here{place.file("s").c_str()};
        struct stat found {};
        require_in_child(::lstat(here.path(), &found) == 0 && S_ISSOCK(found.st_mode));
        require_in_child((found.st_mode & 0777) == 0600);
        require_in_child(::umask(0) == 0);
    });
}

TEST_CASE("another user gets no report, by the socket or by a file", "[dump_on_request]") {
    if (::geteuid() != 0) {
        WARN("left out: only root can become another user");
        return;
    }
    scratch_directory place;
    in_child([&] {
        constexpr uid_t nobody = 65534;
        require_in_child(::chmod(place.path().c_str(), 0777) == 0);
        std::string const name = mine("@tocsin-test-");
        std::string const file = place.file("ask");
        dump_on_request const open_to_all{name.c_str()};
        dump_on_request const socket{place.file("s").c_str()};
        dump_on_request const by_file{file.c_str(), request_file};
        require_fork([&] {
            require_in_child(::setresuid(nobody, nobody, nobody) == 0);
            require_in_child(call_at(socket.path()) < 0 && errno == EACCES);
            std::string const answer = ask(name);
            require_in_child(answer.find("only the owner") != std::string::npos && !is_report(answer));
            touch(file);
        });
        require_report(ask(name));
        touch(place.file("another"));
        require_in_child(exists(file) && !exists(file + ".report"));
        ::unlink(file.c_str());
        touch(file);
        until([&] { return !exists(file); });
        require_report(contents_of(file + ".report"));
        require_in_child(!exists(file + ".report.1"));
    });
}

TEST_CASE("a name of the abstract namespace leaves no file", "[dump_on_request]") {
    in_child([] {
        std::string const name = mine("@tocsin-abstract-");
        {
            dump_on_request const here{"@tocsin-abstract-{pid}"};
            require_in_child(here.path() == name);
            require_report(ask(name));
        }
        require_in_child(call_at(name) < 0 && errno == ECONNREFUSED);
    });
}

TEST_CASE("a place that cannot be had is refused by name, and left as it was", "[dump_on_request]") {
    scratch_directory place;
    in_child([&] {
        unsigned const before = descriptors();
        std::string const taken = place.file("taken");
        touch(taken);
        require_in_child(is_refused(taken.c_str(), EADDRINUSE, "bind"));
        require_in_child(exists(taken));
        require_in_child(is_refused("", EINVAL, "dump_on_request"));
        require_in_child(is_refused(nullptr, EINVAL, "dump_on_request"));
        require_in_child(is_refused("@", EINVAL, "dump_on_request"));
        require_in_child(is_refused(place.file("{host}").c_str(), EINVAL, "dump_on_request"));
        require_in_child(is_refused((place.path() + "/").c_str(), EINVAL, "dump_on_request"));
        require_in_child(is_refused((place.path() + "/none/s").c_str(), ENOENT, "open(directory)"));
        require_in_child(is_refused((taken + "/s").c_str(), ENOTDIR, "open(directory)"));
        require_in_child(is_refused(place.file(std::string(150, 'x')).c_str(), ENAMETOOLONG, "bind"));
        require_in_child(is_refused(place.file(std::string(250, 'x')).c_str(), ENAMETOOLONG, "dump_on_request"));
        require_in_child(is_refused(place.file("f").c_str(), EBADF, "dump_threads.to(fd)", request_file,
                                    dump_threads.to(999)));
        require_in_child(descriptors() == before);
        require_in_child(thread_called("tocsin-request") == 0);
        dump_on_request const first{place.file("s").c_str()};
        require_in_child(is_refused(first.path(), EADDRINUSE, "bind"));
        require_report(ask(first.path()));
    });
}

TEST_CASE("what has taken the socket's place stays", "[dump_on_request]") {
    scratch_directory place;
    in_child([&] {
        std::string const path = place.file("s");
        {
            dump_on_request const here{path.c_str()};
            ::unlink(path.c_str());
            touch(path);
        }
        require_in_child(exists(path));
    });
}

TEST_CASE("its thread has a name, takes no signals, and sleeps until it is asked", "[dump_on_request]") {
    scratch_directory place;
    in_child([&] {
        unsigned const before = descriptors();
        std::string kept = " ";  // what this program was started with
        for (auto const& each : names_in("/proc/self/fd")) kept += each + " ";
        {
            dump_on_request const here{place.file("s").c_str()};
            require_report(ask(here.path()));
            int const thread = thread_called("tocsin-request");
            require_in_child(thread != 0);
            unsigned long long const blocked = std::stoull(status_of(thread, "SigBlk:"), nullptr, 16);
            for (int const number : {SIGTERM, SIGINT, SIGALRM, SIGCHLD, SIGPIPE, SIGPROF, SIGUSR1, SIGRTMIN})
                require_in_child(has_signal(blocked, number));
            for (int const number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT})
                require_in_child(!has_signal(blocked, number));
            until_asleep(thread);
            std::string const switches = status_of(thread, "voluntary_ctxt_switches:");
            pollfd nothing{-1, 0, 0};
            ::poll(&nothing, 1, 300);
            require_in_child(status_of(thread, "voluntary_ctxt_switches:") == switches);
            for (auto const& each : names_in("/proc/self/fd"))
                if (int const fd = std::stoi(each); kept.find(" " + each + " ") == std::string::npos)
                    require_in_child(::fcntl(fd, F_GETFD) < 0 || (::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
        }
        require_in_child(thread_called("tocsin-request") == 0);
        require_in_child(descriptors() == before);
    });
}

TEST_CASE("without_signals changes no disposition, and shows the threads that wait", "[dump_on_request]") {
    scratch_directory place;
    in_child([&] {
        std::vector<struct sigaction> before;
        for (int number = 1; number < NSIG; ++number) before.push_back(action_of(number));
        std::atomic<bool> done{false};
        std::thread runs{[&] {
            ::pthread_setname_np(::pthread_self(), "it-runs");
            while (!done) {
            }
        }};
        std::thread waits{[&] {
            ::pthread_setname_np(::pthread_self(), "it-waits");
            wait_for_parent();
        }};
        until([] { return thread_called("it-waits") != 0 && thread_called("it-runs") != 0; });
        until_asleep(thread_called("it-waits"));
        dump_on_request const here{place.file("s").c_str(), without_signals};
        for (int number = 1; number < NSIG; ++number)
            require_in_child(same_action(before[static_cast<std::size_t>(number - 1)], action_of(number)));
        std::string const report = ask(here.path());
        require_report(report);
        require_in_child(!thread_with(report, "it-waits").frames.empty());
        require_in_child(thread_with(report, "it-runs").frames.empty());
        require_in_child(thread_with(report, "it-runs").head.size() != 0);
        done = true;
        runs.join();
        ::shutdown(STDIN_FILENO, SHUT_RD);
        waits.join();
    });
}

TEST_CASE("a forked child answers nobody, and its end leaves the parent's socket alone", "[dump_on_request]") {
    scratch_directory place;
    in_child([&] {
        std::string const path = place.file("s");
        auto* const here = new dump_on_request{path.c_str()};
        int go[2];
        int gone[2];
        require_in_child(::pipe2(go, O_CLOEXEC) == 0 && ::pipe2(gone, O_CLOEXEC) == 0);
        pid_t const child = ::fork();
        char byte;
        if (child == 0) {
            ::close(go[1]);
            delete here;
            require_in_child(exists(path) && ::write(gone[1], "x", 1) == 1);
            require_in_child(::read(go[0], &byte, 1) == 0);
            ::_exit(0);
        }
        require_in_child(::read(gone[0], &byte, 1) == 1);
        require_report(ask(path));
        delete here;
        require_in_child(!exists(path) && call_at(path) < 0);
        ::close(go[1]);
        int status = -1;
        require_in_child(::waitpid(child, &status, 0) == child && status == 0);
    });
}

TEST_CASE("the socket of a dead parent does not let callers wait on its child", "[dump_on_request]") {
    scratch_directory place;
    in_child([&] {
        std::string const path = place.file("s");
        int ready[2];
        require_in_child(::pipe2(ready, O_CLOEXEC) == 0);
        pid_t const parent = ::fork();
        if (parent == 0) {
            auto* const here = new dump_on_request{path.c_str()};
            static_cast<void>(here);
            if (::fork() == 0) {
                require_in_child(::write(ready[1], "x", 1) == 1);
                for (;;) ::pause();
            }
            ::_exit(0);
        }
        ::waitpid(parent, nullptr, 0);
        char byte;
        require_in_child(::read(ready[0], &byte, 1) == 1);
        require_in_child(call_at(path) < 0 && errno == ECONNREFUSED);
    });
}

TEST_CASE("whoever asks too often waits", "[dump_on_request]") {
    posix::request_pace pace;
    std::uint64_t const second = 1'000'000'000;
    std::uint64_t now = 5 * second;
    for (unsigned i = 0; i < pace.burst; ++i) CHECK(pace.next(now) == 0);
    std::uint64_t const wait = pace.next(now);
    CHECK(wait != 0);
    CHECK(wait <= pace.each);
    CHECK(pace.next(now + wait) == 0);
    CHECK(pace.next(now + wait) != 0);
    now += 60 * second;
    for (unsigned i = 0; i < pace.burst; ++i) CHECK(pace.next(now) == 0);
    CHECK(pace.next(now) != 0);
}

TEST_CASE("a caller who does not read holds the process up for a bounded time, and not for ever", "[dump_on_request]") {
    scratch_directory place;
    in_child([&] {
        auto const start = std::chrono::steady_clock::now();
        int silent = -1;
        {
            std::vector<std::thread> many;
            std::atomic<bool> done{false};
            for (int i = 0; i < 40; ++i) many.emplace_back([&] {
                while (!done) ::poll(nullptr, 0, 10);
            });
            dump_on_request const here{place.file("s").c_str()};
            silent = call_at(here.path());
            require_in_child(silent >= 0);
            require_report(ask(here.path()));
            done = true;
            for (auto& each : many) each.join();
        }
        require_in_child(std::chrono::steady_clock::now() - start < 15s);
        ::close(silent);
    });
}

TEST_CASE("a program that closes every descriptor ends the answers, and nothing spins or hangs", "[dump_on_request]") {
    scratch_directory place;
    in_child([&] {
        std::string const path = place.file("s");
        {
            dump_on_request const here{path.c_str()};
            for (int fd = 3; fd < 1024; ++fd) ::close(fd);
            call_at(path);
        }
        until([&] { return call_at(path) < 0; });  // the thread's poll(2) has to let go of the socket
    });
}
