// SPDX-License-Identifier: MIT
// A child process to be signalled: a lambda in a fork of the test, or a program.
//
// Runs on any ordinary thread of a test program. The child starts as a fresh process would: every disposition
// default, nothing blocked, no alternate stack (Catch2 keeps one, and six signals), its own process group, no
// core file; its three standard streams lead here. Every wait has a deadline and ends by an event, never by a
// sleep; a child that misses the deadline is killed and reported as timed out. Whatever it has started and
// not waited for is killed when it ends. It cannot outlive the thread that started it (PR_SET_PDEATHSIG), so
// start it from a thread that stays.
//
//     auto child = test::child::run([] { guard signals{…}; test::say("ready"); pause(); });
//     REQUIRE(child.expect_line("ready"));
//     child.signal(SIGTERM);
//     CHECK(child.wait().signal == SIGTERM);
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace tocsin::test {

using milliseconds = std::chrono::milliseconds;

inline constexpr milliseconds patience{20'000};

// What became of a child.
struct outcome {
    int code = -1;           // its exit status; -1 if a signal ended it
    int signal = 0;          // the signal that ended it; 0 if it exited
    bool core = false;       // the kernel says that a core was written
    bool timed_out = false;  // it missed the deadline and was killed
    std::string out;         // everything that it wrote to stdout
    std::string err;         // and to stderr

    bool exited(int expected) const { return !timed_out && signal == 0 && code == expected; }
    bool killed_by(int expected) const { return !timed_out && signal == expected; }

    // For INFO(…): what a reader of a failed test wants to see.
    std::string describe() const {
        std::string text = timed_out ? "timed out; " : "";
        text += signal != 0 ? "killed by signal " + std::to_string(signal)
                            : "exited with " + std::to_string(code);
        return text + "\nstdout:\n" + out + "\nstderr:\n" + err;
    }
};

// --- Inside the child --------------------------------------------------------------------------------------

// One line to stdout, at once.
inline void say(std::string_view line) {
    std::string const text = std::string{line} + "\n";
    if (::write(STDOUT_FILENO, text.data(), text.size()) < 0) ::_exit(98);
}

// Ends the child with status 99, and the place on stderr, unless `ok`: Catch2's macros reach nobody there.
inline void require_in_child(bool ok, char const* file = __builtin_FILE(), int line = __builtin_LINE()) {
    if (ok) return;
    ::dprintf(STDERR_FILENO, "%s:%d: not as required in the child\n", file, line);
    ::_exit(99);
}

// Waits until the parent has called close_input(), and eats what it sent.
inline void wait_for_parent() {
    char byte;
    for (;;) {
        ssize_t const got = ::read(STDIN_FILENO, &byte, 1);
        if (got == 0 || (got < 0 && errno != EINTR)) return;
    }
}

// Waits for one line from the parent's tell(); false at the end of input. Goes on after EINTR.
inline bool hear(std::string& line) {
    line.clear();
    for (char byte;;) {
        ssize_t const got = ::read(STDIN_FILENO, &byte, 1);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        if (byte == '\n') return true;
        line += byte;
    }
}

// The path of a built example (meson sets the folder).
inline std::string example(std::string_view name) {
    char const* const folder = std::getenv("TOCSIN_EXAMPLES");
    return std::string{folder != nullptr ? folder : "build/examples"} + "/" + std::string{name};
}

// --- The parent's side -------------------------------------------------------------------------------------

class child {
  public:
    // Runs f() in a fork. An int that f returns is the exit status, otherwise 0; an exception gives 97.
    template <class F>
    static child run(F f) {
        child self;
        if (self.start() == 0) ::_exit(call(f));
        self.started();
        return self;
    }

    // Runs a program: its path, or a name to be found in PATH, and its arguments. 127 if that fails.
    static child program(std::vector<std::string> words) {
        std::vector<char*> arguments;
        for (auto& word : words) arguments.push_back(word.data());
        arguments.push_back(nullptr);
        child self;
        if (self.start() == 0) {
            ::execvp(arguments[0], arguments.data());
            ::perror(arguments[0]);
            ::_exit(127);
        }
        self.started();
        return self;
    }

    child(child const&) = delete;
    child& operator=(child const&) = delete;
    child(child&& other) noexcept
        : pid_{std::exchange(other.pid_, -1)},
          pidfd_{std::exchange(other.pidfd_, -1)},
          input_{std::exchange(other.input_, -1)},
          out_{std::exchange(other.out_, {})},
          err_{std::exchange(other.err_, {})},
          ended_{other.ended_},
          outcome_{std::move(other.outcome_)} {}
    child& operator=(child&&) = delete;

    ~child() {
        if (pid_ > 0 && !ended_) kill_and_reap();
        for (int const fd : {pidfd_, input_, out_.fd, err_.fd})
            if (fd >= 0) ::close(fd);
    }

    pid_t pid() const { return pid_; }
    std::string const& out() const { return out_.text; }
    std::string const& err() const { return err_.text; }

    // False once the child has been waited for: its number may be another's by then.
    bool signal(int number) { return !ended_ && ::kill(pid_, number) == 0; }
    bool queue(int number, int value) {
        sigval word{};
        word.sival_int = value;
        return !ended_ && ::sigqueue(pid_, number, word) == 0;
    }

    // Ends the child's stdin: the usual way to tell it to go on.
    void close_input() { ::shutdown(input_, SHUT_WR); }
    // Sends a line to the child's stdin.
    bool tell(std::string_view line) {
        std::string const text = std::string{line} + "\n";
        return ::send(input_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
    }

    // Reads until a whole line that contains `text` has arrived on stdout, after the line that the last call
    // found. False if the child ends first or the deadline passes (it is not killed).
    bool expect_line(std::string_view text, milliseconds deadline = patience) {
        return expect(out_, text, deadline);
    }
    // The same on stderr.
    bool expect_error_line(std::string_view text, milliseconds deadline = patience) {
        return expect(err_, text, deadline);
    }

    // Waits for the end, reading both streams so that the child cannot block on them. Kills at the deadline.
    // Input stays as it is: a child that reads to its end needs close_input() first.
    outcome const& wait(milliseconds deadline = patience) {
        auto const end = clock::now() + deadline;
        while (!ended_) {
            if (exited(false)) {
                reap();
            } else if (!listen(end)) {
                outcome_.timed_out = true;
                kill_and_reap();
            }
        }
        outcome_.out = out_.text;
        outcome_.err = err_.text;
        return outcome_;
    }

  private:
    using clock = std::chrono::steady_clock;

    struct stream {
        int fd = -1;
        int writer = -1;       // the child's end, until it has started
        std::string text{};    // all that has been read
        std::size_t seen = 0;  // expect_line continues here
    };

    child() = default;

    template <class F>
    static int call(F& f) {
        int code = 0;
        try {
            if constexpr (std::is_same_v<decltype(f()), int>)
                code = f();
            else
                f();
        } catch (std::exception const& error) {
            ::dprintf(STDERR_FILENO, "exception in the child: %s\n", error.what());
            code = 97;
        }
        ::fflush(nullptr);
        return code;
    }

    static void open(stream& to) {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error{"pipe2"};
        to.fd = ends[0];
        to.writer = ends[1];
    }

    // Forks with every signal blocked, so that none meets the child half prepared. Returns 0 in the child.
    //
    // stdin is a socket, not a pipe: shutdown() ends it whoever else has inherited this side, such as a
    // second child.
    pid_t start() {
        int input[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, input) != 0)
            throw std::runtime_error{"socketpair"};
        input_ = input[0];
        open(out_);
        open(err_);
        ::fflush(nullptr);  // or the child writes what this process has buffered a second time
        sigset_t all;
        sigset_t old;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &old);
        pid_t const parent = ::getpid();
        pid_ = ::fork();
        if (pid_ == 0) {
            prepare(parent, input[1]);
            return 0;
        }
        ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
        ::close(input[1]);
        ::close(std::exchange(out_.writer, -1));
        ::close(std::exchange(err_.writer, -1));
        if (pid_ < 0) throw std::runtime_error{"fork"};
        return pid_;
    }

    // In the child.
    void prepare(pid_t parent, int input) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != parent) ::_exit(96);
        ::setpgid(0, 0);
        rlimit limit{};
        ::getrlimit(RLIMIT_CORE, &limit);
        limit.rlim_cur = 0;  // the hard limit stays: a test about cores may raise it again
        ::setrlimit(RLIMIT_CORE, &limit);
        ::dup2(input, STDIN_FILENO);
        ::dup2(out_.writer, STDOUT_FILENO);
        ::dup2(err_.writer, STDERR_FILENO);
        for (int const fd : {input, input_, out_.fd, out_.writer, err_.fd, err_.writer})
            if (fd > STDERR_FILENO) ::close(fd);
        struct sigaction fresh {};
        fresh.sa_handler = SIG_DFL;
        for (int number = 1; number < NSIG; ++number) ::sigaction(number, &fresh, nullptr);  // some refuse
        stack_t none{};
        none.ss_flags = SS_DISABLE;
        ::sigaltstack(&none, nullptr);
        sigset_t empty;
        ::sigemptyset(&empty);
        ::pthread_sigmask(SIG_SETMASK, &empty, nullptr);
    }

    // In the parent. Both sides call setpgid, whoever is first.
    void started() {
        ::setpgid(pid_, pid_);
        pidfd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
    }

    // Has it ended? Does not reap.
    bool exited(bool block) const {
        siginfo_t info{};
        while (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT | (block ? 0 : WNOHANG)) !=
               0)
            if (errno != EINTR) return true;
        return info.si_pid != 0;
    }

    void reap() {
        take(out_);
        take(err_);
        ::kill(-pid_,
               SIGKILL);  // what it started and left behind; a zombie still keeps the number from others
        int status = 0;
        while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
        }
        ended_ = true;
        if (WIFEXITED(status)) outcome_.code = WEXITSTATUS(status);
        if (WIFSIGNALED(status)) outcome_.signal = WTERMSIG(status);
        outcome_.core = WIFSIGNALED(status) && WCOREDUMP(status);
    }

    void kill_and_reap() {
        ::kill(-pid_, SIGKILL);
        ::kill(pid_, SIGKILL);
        exited(true);
        reap();
    }

    // Takes what is there, without waiting. False at the end of the stream.
    static bool take(stream& from) {
        while (from.fd >= 0) {
            pollfd ready{from.fd, POLLIN, 0};
            if (::poll(&ready, 1, 0) <= 0) return true;
            char buffer[4096];
            ssize_t const got = ::read(from.fd, buffer, sizeof buffer);
            if (got > 0) {
                from.text.append(buffer, static_cast<std::size_t>(got));
            } else if (got == 0 || errno != EINTR) {
                ::close(std::exchange(from.fd, -1));
            }
        }
        return false;
    }

    // Waits until the child writes or ends, and takes what it wrote. False once `end` has passed.
    // Where the kernel has no pidfd the end is looked for every 20 ms.
    bool listen(clock::time_point end) {
        auto const left = std::chrono::duration_cast<milliseconds>(end - clock::now()).count();
        if (left <= 0) return false;
        pollfd events[3] = {{out_.fd, POLLIN, 0}, {err_.fd, POLLIN, 0}, {pidfd_, POLLIN, 0}};
        ::poll(events, 3, static_cast<int>(pidfd_ >= 0 || left < 20 ? left : 20));
        take(out_);
        take(err_);
        return true;
    }

    bool expect(stream& in, std::string_view text, milliseconds deadline) {
        auto const end = clock::now() + deadline;
        for (;;) {
            bool const last = ended_ || exited(false);  // asked before reading: nothing is written after it
            if (last && !ended_) {
                take(out_);
                take(err_);
            }
            for (std::size_t stop; (stop = in.text.find('\n', in.seen)) != std::string::npos;) {
                std::string_view const line = std::string_view{in.text}.substr(in.seen, stop - in.seen);
                in.seen = stop + 1;
                if (line.find(text) != std::string_view::npos) return true;
            }
            if (last || !listen(end)) return false;
        }
    }

    pid_t pid_ = -1;
    int pidfd_ = -1;
    int input_ = -1;
    stream out_{};
    stream err_{};
    bool ended_ = false;
    outcome outcome_{};
};

}  // namespace tocsin::test
