// SPDX-License-Identifier: MIT
// The lines of a report, from orders made by hand.
#include <tocsin/in_signal/report_text.hpp>
#include <tocsin/in_signal/dump.hpp>

#include <tocsin/posix/reporter.hpp>

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/report_text.hpp"

using namespace tocsin;
using in_signal::occasion;
using in_signal::report_order;
using test::child;
using test::require_in_child;

namespace {

// A table and a desk of their own; nobody answers captures.
class reporting {
  public:
    reporting() : in_{std::make_unique<in_signal::table>()}, desk{std::make_unique<in_signal::report_desk>()} {
        in_->limit.frames = 64;
        in_->live_process = &live_;
    }

    std::string write(report_order const& order, bool* done = nullptr) {
        int const fd = ::memfd_create("report", MFD_CLOEXEC);
        {
            in_signal::report<in_signal::text_form> report{*in_, *desk, order, fd};
            bool const all = report.write_all();
            if (done != nullptr) *done = all;
        }
        std::string const text = test::contents_of("/proc/self/fd/" + std::to_string(fd));
        ::close(fd);
        return text;
    }
    std::string title(report_order const& order) {
        report_order alone = order;
        alone.this_thread_only = true;
        std::string const text = write(alone);
        return text.substr(0, text.find('\n'));
    }
    in_signal::table& in() { return *in_; }
    void limit_frames(std::uint32_t frames) { in_->limit.frames = frames; }

  private:
    std::unique_ptr<in_signal::table> in_;
    in_signal::atomic<std::int32_t> live_;

  public:
    std::unique_ptr<in_signal::report_desk> desk;
};

std::string own_path() {
    char path[4096];
    ssize_t const size = ::readlink("/proc/self/exe", path, sizeof path);
    return {path, static_cast<std::size_t>(size)};
}

std::string const process = ", process " + std::to_string(::getpid());

siginfo_t info_of(int code) {
    siginfo_t info{};
    info.si_code = code;
    return info;
}

report_order signal_order(int signal, siginfo_t const& info) {
    report_order order;
    order.why = occasion::signal;
    order.signal = signal;
    order.info = &info;
    order.thread = ::gettid();
    return order;
}

// Stands on a few frames, and reports from there.
[[gnu::noinline]] std::string report_deep(reporting& here, int depth) {
    if (depth != 0) {
        std::string below = report_deep(here, depth - 1);
        __asm__ volatile("" : : "r"(&below) : "memory");
        return below;
    }
    in_signal::registers const from = in_signal::here();
    report_order order;
    order.from = &from;
    order.this_thread_only = true;
    return here.write(order);
}

}  // namespace

TEST_CASE("the first line says why", "[report]") {
    reporting here;
    CHECK(here.title({}) == "tocsin: report on request" + process);
    report_order hang;
    hang.why = occasion::hang;
    hang.hang = 2'345'678'901;
    CHECK(here.title(hang) == "tocsin: watchdog: not fed for 2345 ms" + process);
    siginfo_t info = info_of(SI_USER);
    info.si_pid = 12;
    info.si_uid = 34;
    report_order order = signal_order(SIGQUIT, info);
    CHECK(here.title(order) == "tocsin: SIGQUIT sent by process 12 of user 34" + process);
    order.merged = 3;
    CHECK(here.title(order) == "tocsin: SIGQUIT sent by process 12 of user 34, 3 times" + process);
}

TEST_CASE("only who is known to have sent a signal is named", "[report]") {
    reporting here;
    CHECK(here.title(signal_order(SIGQUIT, info_of(SI_KERNEL))) == "tocsin: SIGQUIT (by the kernel)" + process);
    CHECK(here.title(signal_order(SIGALRM, info_of(SI_TIMER))) == "tocsin: SIGALRM (by a timer)" + process);
    CHECK(here.title(signal_order(rt<3>, info_of(SI_TIMER))) == "tocsin: SIGRTMIN+3 (by a timer)" + process);
}

TEST_CASE("an address is shown of a true fault, never of one that was sent", "[report]") {
    reporting here;
    siginfo_t info = info_of(SEGV_MAPERR);
    info.si_addr = reinterpret_cast<void*>(0x1234);
    report_order order = signal_order(SIGSEGV, info);
    order.why = occasion::crash;
    CHECK(here.title(order).find("tocsin: SIGSEGV (address not mapped) at 0x0000000000001234" + process +
                                 ", thread ") == 0);
    info = info_of(SI_QUEUE);
    info.si_pid = 12;
    info.si_value.sival_ptr = reinterpret_cast<void*>(0x1234);
    CHECK(here.title(order).find("tocsin: SIGSEGV sent by process 12 of user 0" + process) == 0);
}

TEST_CASE("frames have number, address, function, offset and object", "[report]") {
    reporting here;
    auto const threads = test::threads_of(report_deep(here, 3));
    REQUIRE(threads.size() == 1);
    auto const& frames = threads[0].frames;
    REQUIRE(frames.size() > 4);
    for (std::size_t i = 0; i < 4; ++i) {
        CHECK(frames[i].rfind("  #" + std::to_string(i) + " 0x", 0) == 0);
        CHECK(frames[i].find("report_deep") != std::string::npos);
        CHECK(frames[i].find(" in " + own_path() + "+0x") != std::string::npos);
    }
    CHECK(frames.back().find(" in ") != std::string::npos);
}

TEST_CASE("a report counts the frames beyond the limit", "[report]") {
    reporting here;
    here.limit_frames(10);
    std::string const text = report_deep(here, 1000);
    auto const frames = test::threads_of(text)[0].frames;
    CHECK(frames.size() == 10);
    CHECK(frames[7].rfind("  #7 ", 0) == 0);
    int const last = std::stoi(frames[9].substr(3));
    CHECK(last > 1000);
    CHECK(std::stoi(frames[8].substr(3)) == last - 1);
    std::size_t const at = text.find("  and ");
    REQUIRE(at != std::string::npos);
    CHECK(std::stoi(text.substr(at + 6)) > 990);
}

TEST_CASE("the thread that writes and has no stack of interest says so", "[report]") {
    reporting here;
    std::string const text = here.write({});
    CHECK(text.find("thread " + std::to_string(::gettid()) + " ") != std::string::npos);
    CHECK(text.find(": writes this report\n") != std::string::npos);
}

TEST_CASE("a thread that has ended before it could be shown is mentioned", "[report]") {
    reporting here;
    report_order order;
    order.thread = 1 << 30;
    std::string const text = here.write(order);
    CHECK(text.find("thread 1073741824 \"\": has ended\n") != std::string::npos);
    CHECK(text.find("tocsin: end of report, ") != std::string::npos);
}

TEST_CASE("a crash that waits is shown where it happened, and once told, is known to have been", "[report]") {
    reporting here;
    std::atomic<int> id{0};
    std::atomic<bool> end{false};
    std::thread other{[&] {
        id = test::thread_id();
        while (!end) {
        }
    }};
    while (id == 0) ::sched_yield();
    in_signal::crash_note& note = here.desk->waiting.notes[3];
    note.thread = id;
    note.signal = SIGFPE;
    note.info = info_of(FPE_INTDIV);
    note.from.pc = reinterpret_cast<std::uintptr_t>(&::getppid);
    note.from.signal_frame = true;
    note.state.store(in_signal::note_written);

    siginfo_t const info = info_of(SI_USER);
    report_order order = signal_order(SIGQUIT, info);
    std::string text = here.write(order);
    auto thread = test::thread_with(text, ", which crashed too: SIGFPE (integer divided by zero) at 0x");
    CHECK(thread.names("getppid"));
    CHECK(note.state.load() == in_signal::note_written);  // its own report is still to come

    order.why = occasion::crash;
    text = here.write(order);
    CHECK(test::count_of(text, "which crashed too") == 1);
    CHECK(note.state.load() == in_signal::note_shown);

    note.thread = 1 << 30;  // of a thread that is not listed: as if it had crashed after it was
    note.state.store(in_signal::note_written);
    text = here.write(order);
    CHECK(text.find("thread 1073741824, which crashed too: SIGFPE") != std::string::npos);
    CHECK(note.state.load() == in_signal::note_shown);
    end = true;
    other.join();
}

TEST_CASE("a crash leaves word while it waits, and takes it back", "[report]") {
    in_signal::crash_board board{};
    siginfo_t info = info_of(SEGV_MAPERR);
    ucontext_t context{};
    in_signal::arrival a{SIGSEGV, &info, &context, nullptr};
    {
        in_signal::noted_crash const first{board, a};
        CHECK_FALSE(first.shown());
        in_signal::crash_note* const note = board.of_thread(::gettid());
        REQUIRE(note != nullptr);
        CHECK(note->signal == SIGSEGV);
        note->state.store(in_signal::note_shown);
        CHECK(first.shown());
    }
    CHECK(board.of_thread(::gettid()) == nullptr);
    a.context = nullptr;  // a simulated one has no place to show
    in_signal::noted_crash const simulated{board, a};
    CHECK(board.of_thread(::gettid()) == nullptr);
}

TEST_CASE("where threads cannot be listed the report says so", "[report]") {
    auto subject = child::run([] {
        reporting here;
        int const fd = ::memfd_create("report", MFD_CLOEXEC);
        rlimit limit{};
        ::getrlimit(RLIMIT_NOFILE, &limit);
        rlimit none = limit;
        none.rlim_cur = 0;
        report_order const order;
        ::setrlimit(RLIMIT_NOFILE, &none);
        in_signal::report<in_signal::text_form>{here.in(), *here.desk, order, fd}.write_all();
        ::setrlimit(RLIMIT_NOFILE, &limit);
        test::say(test::contents_of("/proc/self/fd/" + std::to_string(fd)));
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.out.find("other threads cannot be listed") != std::string::npos);
    CHECK(end.out.find("end of report, 1 thread\n") != std::string::npos);
}

TEST_CASE("a report that cannot be written says why", "[report]") {
    reporting here;
    report_order const order;
    in_signal::table& in = here.in();
    {
        in_signal::report<in_signal::text_form> report{in, *here.desk, order, -1};
        CHECK_FALSE(report.write_all());
        CHECK(report.error() == EBADF);
    }
    int const full = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
    {
        in_signal::report<in_signal::text_form> report{in, *here.desk, order, full};
        CHECK_FALSE(report.write_all());
        CHECK(report.error() == ENOSPC);
    }
    ::close(full);
}

TEST_CASE("one thread at a time has the turn, and a forked child need not wait for its parent's", "[report]") {
    auto subject = child::run([] {
        in_signal::report_seat seat{};
        in_signal::report_turn const mine{seat};
        require_in_child(mine.taken() && in_signal::report_turn::is_mine(seat) && !mine.inherited());
        require_in_child(!in_signal::report_turn{seat}.taken());  // not twice, and at once
        std::thread{[&] { require_in_child(!in_signal::report_turn::is_mine(seat)); }}.join();
        pid_t const pid = ::fork();
        if (pid == 0) {
            in_signal::report_turn const childs{seat};
            ::_exit(childs.taken() && childs.inherited() ? 42 : 1);
        }
        int status = 0;
        ::waitpid(pid, &status, 0);
        require_in_child(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}

TEST_CASE("a turn is waited for", "[report]") {
    auto subject = child::run([] {
        in_signal::report_seat seat{};
        std::atomic<bool> had{false};
        std::unique_ptr<in_signal::report_turn> mine = std::make_unique<in_signal::report_turn>(seat);
        std::atomic<int> id{0};
        std::thread next{[&] {
            id = test::thread_id();
            in_signal::report_turn const turn{seat};
            had = turn.taken();
        }};
        while (id == 0) ::sched_yield();
        test::until_asleep(id);
        mine.reset();
        next.join();
        require_in_child(had);
    });
    CHECK(subject.wait().exited(0));
}
