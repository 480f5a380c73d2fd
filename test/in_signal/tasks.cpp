// SPDX-License-Identifier: MIT
#include <tocsin/in_signal/tasks.hpp>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/report_text.hpp"

using namespace tocsin;
using in_signal::each_task;
using in_signal::task_file;
using test::child;
using test::require_in_child;

namespace {

// A thread that runs f first, and then waits in poll(2) until the end of the test.
class waiter {
  public:
    template <class F>
    explicit waiter(F f) {
        (void)!::pipe(ends_);
        thread_ = std::thread{[this, f] {
            f();
            id = test::thread_id();
            pollfd end{ends_[0], POLLIN, 0};
            ::poll(&end, 1, -1);
        }};
        while (id == 0) ::sched_yield();
        test::until_asleep(id);
    }
    ~waiter() {
        ::close(ends_[1]);
        thread_.join();
        ::close(ends_[0]);
    }

    std::atomic<int> id{0};

  private:
    int ends_[2];
    std::thread thread_;
};

// A record of getdents64(2) with the name in it; `length` is what it says of itself.
std::string directory_entry(std::string const& name, std::size_t length) {
    std::string entry(16, '\1');
    entry += {static_cast<char>(length & 0xff), static_cast<char>(length >> 8), '\4'};
    return entry + name;
}

std::vector<int> numbers_in(std::string const& entries) {
    std::vector<int> numbers;
    in_signal::each_number(entries.data(), entries.size(), [&](int number) { numbers.push_back(number); });
    return numbers;
}

in_signal::blocked_mask mask_in(std::string const& text, std::size_t piece) {
    in_signal::blocked_mask blocked;
    for (std::size_t at = 0; at < text.size(); at += piece)
        blocked.take(text.data() + at, std::min(piece, text.size() - at));
    return blocked;
}

std::uintptr_t hexadecimal(char const* text, bool expected = true) {
    std::uintptr_t value = 0;
    CHECK(in_signal::parse_hexadecimal(text, value) == expected);
    return value;
}

}  // namespace

TEST_CASE("a task's file is read without its last newline, and cut where the memory ends", "[tasks]") {
    waiter const other{[] { ::prctl(PR_SET_NAME, "fourteen chars"); }};
    task_file<32> const whole{other.id, "comm"};
    CHECK(std::string{whole.text(), whole.size()} == "fourteen chars");
    CHECK(whole.error() == 0);
    task_file<5> const cut{other.id, "comm"};
    CHECK(std::string{cut.text(), cut.size()} == "four");
}

TEST_CASE("a file that cannot be had is empty, with the reason", "[tasks]") {
    task_file<32> const none{1 << 30, "comm"};
    CHECK(none.size() == 0);
    CHECK(none.text()[0] == '\0');
    CHECK(none.error() == ENOENT);
    CHECK(in_signal::task_state(1 << 30) == '?');
    CHECK_FALSE(in_signal::blocks(1 << 30, SIGTERM));
    CHECK_FALSE(in_signal::where_it_waits(1 << 30).known);
}

TEST_CASE("every thread of the process is visited once", "[tasks]") {
    std::vector<int> expected{test::thread_id()};
    std::vector<std::unique_ptr<waiter>> others;
    for (int i = 0; i < 150; ++i) {  // more than one buffer of directory entries
        others.push_back(std::make_unique<waiter>([] {}));
        expected.push_back(others.back()->id);
    }
    std::vector<int> seen;
    CHECK(each_task([&](int thread) { seen.push_back(thread); }) == 0);
    std::sort(seen.begin(), seen.end());
    CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
    for (int const thread : expected) CHECK(std::binary_search(seen.begin(), seen.end(), thread));
}

TEST_CASE("files of threads are the same from the list's descriptor as by their whole path", "[tasks]") {
    waiter const other{[] { ::prctl(PR_SET_NAME, "other"); }};
    test::until_asleep(other.id);
    unsigned seen = 0;
    CHECK(each_task([&](int thread, int tasks) {
              ++seen;
              CHECK(std::string{task_file<64>{thread, "comm", tasks}.text()} ==
                    task_file<64>{thread, "comm"}.text());
              if (thread != other.id) return;
              in_signal::waiting_at const at = in_signal::waiting_place{thread, tasks}.look();
              CHECK(at.known);
              CHECK(at.pc == in_signal::where_it_waits(thread).pc);
          }) == 0);
    CHECK(seen >= 2);
}

TEST_CASE("a thread that waits in the same place with another argument has gone on", "[tasks]") {
    int wakes[2];
    REQUIRE(::pipe(wakes) == 0);
    std::atomic<int> id{0};
    std::thread other{[&] {
        id = test::thread_id();
        char to;
        for (std::size_t i = 0; i < 2; ++i) (void)!::syscall(SYS_read, wakes[0], &to, i + 1);
    }};
    while (id == 0) ::sched_yield();
    test::until_asleep(id);
    in_signal::waiting_place place{id};
    CHECK_FALSE(place.still());  // nobody has looked
    in_signal::waiting_at const before = place.look();
    CHECK(place.still());
    CHECK(place.still());
    CHECK(::write(wakes[1], "1", 1) == 1);
    in_signal::waiting_at after;
    while (place.still() || !(after = in_signal::where_it_waits(id)).known) ::sched_yield();
    CHECK(after.pc == before.pc);
    CHECK(after.sp == before.sp);
    CHECK_FALSE(place.still());
    CHECK(::write(wakes[1], "2", 1) == 1);
    other.join();
    CHECK_FALSE(place.still());
    ::close(wakes[0]);
    ::close(wakes[1]);
}

TEST_CASE("without descriptors the threads cannot be listed, and nobody is visited", "[tasks]") {
    auto subject = child::run([] {
        rlimit const none{0, 0};
        ::setrlimit(RLIMIT_NOFILE, &none);
        int visits = 0;
        require_in_child(each_task([&](int) { ++visits; }) != 0 && visits == 0);
    });
    CHECK(subject.wait().exited(0));
}

TEST_CASE("where a thread waits is known; where one runs is not", "[tasks]") {
    waiter const other{[] {}};
    in_signal::waiting_at const waits = in_signal::where_it_waits(other.id);
    CHECK(waits.known);
    CHECK(waits.pc != 0);
    CHECK(waits.sp != 0);
    std::atomic<int> runs{0};
    std::atomic<bool> end{false};
    std::thread runner{[&] {
        runs = test::thread_id();
        while (!end) {
        }
    }};
    while (runs == 0) ::sched_yield();
    CHECK_FALSE(in_signal::where_it_waits(runs).known);
    end = true;
    runner.join();
}

TEST_CASE("hexadecimal numbers are read to their end", "[tasks]") {
    CHECK(hexadecimal("0x7fff12ab ") == 0x7fff12ab);
    CHECK(hexadecimal("0xffffffffffffffff") == ~std::uintptr_t{0});
    CHECK(hexadecimal("0x0\n") == 0);
    hexadecimal("7fff", false);
    hexadecimal("running", false);
    hexadecimal("", false);
}

TEST_CASE("the state of a thread is told whatever its name holds", "[tasks]") {
    waiter const other{[] { ::prctl(PR_SET_NAME, ") R ) Z 1"); }};
    CHECK(in_signal::task_state(other.id) == 'S');
    CHECK(in_signal::task_state(test::thread_id()) == 'R');
    CHECK_FALSE(in_signal::has_ended(other.id));
}

TEST_CASE("a main thread that has ended while others go on is known to have", "[tasks]") {
    auto subject = child::run([] {
        std::thread{[] {
            while (!in_signal::has_ended(::getpid())) ::sched_yield();
            ::_exit(7);
        }}.detach();
        ::syscall(SYS_exit, 0);
    });
    CHECK(subject.wait().exited(7));
}

TEST_CASE("which signals a thread blocks is told for all of them", "[tasks]") {
    waiter const other{[] {
        sigset_t set;
        ::sigemptyset(&set);
        for (int const number : {SIGHUP, SIGSYS, SIGRTMIN + 5, SIGRTMAX}) ::sigaddset(&set, number);
        ::pthread_sigmask(SIG_SETMASK, &set, nullptr);
    }};
    for (int number = 1; number <= SIGRTMAX; ++number) {
        bool const expected = number == SIGHUP || number == SIGSYS || number == SIGRTMIN + 5 || number == SIGRTMAX;
        INFO(number);
        CHECK(in_signal::blocks(other.id, number) == expected);
    }
    CHECK_FALSE(in_signal::blocks(other.id, 0));
}

TEST_CASE("a mask is read whatever pieces the text comes in, and only if it is one", "[tasks]") {
    std::string const text = "Name:\tSigBlk:\nSigBl\nSigBlk:\t00000000000102f0\nSigBlk:\tffffffffffffffff\n";
    for (std::size_t piece = 1; piece <= text.size(); ++piece) {
        INFO(piece);
        CHECK(mask_in(text, piece).known());
        CHECK(mask_in(text, piece).mask() == 0x102f0);
    }
    CHECK_FALSE(mask_in("\nSigBlk:\t000000000001", 512).known());
    CHECK_FALSE(mask_in("\nSigBlk:\t00000000000102F0\n", 512).known());
    CHECK_FALSE(mask_in("\nSigBlk:\t0000 00000001020\n", 512).known());
    CHECK_FALSE(mask_in("SigBlk:\t00000000000102f0\n", 512).known());  // no line of its own
    CHECK(mask_in("\nSigBlk:\t0000 00000001020\nSigBlk:\tffffffffffffffff\n", 7).done());
    CHECK_FALSE(in_signal::blocks(test::thread_id(), -1));
    CHECK_FALSE(in_signal::blocks(test::thread_id(), 65));
}

TEST_CASE("numbered entries of a directory are told apart from others, and a damaged record is the end", "[tasks]") {
    std::string const good = directory_entry(std::string{"41\0\0\0", 5}, 24);
    std::string const last = directory_entry(std::string{"42\0", 3}, 22);
    CHECK(numbers_in(good + last) == std::vector<int>{41, 42});
    CHECK(numbers_in(directory_entry(std::string{".\0..", 5}, 24) + last) == std::vector<int>{42});
    CHECK(numbers_in(directory_entry(std::string{"7a\0\0\0", 5}, 24) + last) == std::vector<int>{42});
    CHECK(numbers_in(directory_entry(std::string{"99999999999\0", 12}, 31) + last) == std::vector<int>{42});
    CHECK(numbers_in(directory_entry("12345", 24) + last) == std::vector<int>{42});  // no end
    CHECK(numbers_in(good + directory_entry(std::string{"1\0", 2}, 0) + last) == std::vector<int>{41});
    CHECK(numbers_in(good + directory_entry(std::string{"1\0", 2}, 40000) + last) == std::vector<int>{41});
    CHECK(numbers_in(good + directory_entry("", 19)) == std::vector<int>{41});
    CHECK(numbers_in("").empty());
}

TEST_CASE("a state is a letter", "[tasks]") {
    CHECK(in_signal::parse_task_state("12 (a) b) S 1 2") == 'S');
    CHECK(in_signal::parse_task_state("12 (a) 7") == '?');
    CHECK(in_signal::parse_task_state("12 (a) ") == '?');
    CHECK(in_signal::parse_task_state("") == '?');
    CHECK_FALSE(in_signal::parse_where_it_waits("running").known);
    CHECK_FALSE(in_signal::parse_where_it_waits("0 0x0 0x0").known);
    CHECK(in_signal::parse_where_it_waits("-1 0x7f 0x55").pc == 0x55);
}
