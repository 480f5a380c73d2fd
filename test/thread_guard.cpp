// SPDX-License-Identifier: MIT
#include <tocsin/thread_guard.hpp>

#include <tocsin/dump.hpp>
#include <tocsin/guard.hpp>

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/report_text.hpp"

using namespace tocsin;
using test::child;
using test::require_in_child;
using test::thread_with;

namespace {

std::string name_now() {
    char name[16] = {};
    ::prctl(PR_GET_NAME, name);
    return name;
}

stack_t stack_now() {
    stack_t now{};
    ::sigaltstack(nullptr, &now);
    return now;
}

// The whole name that reports show of this thread, "" if there is only the kernel's.
std::string long_name_now() {
    auto const* const record = in_signal::record_of(*in_signal::the_table.load(), test::thread_id());
    char name[in_signal::longest_thread_name + 1] = {};
    std::string const kernel = name_now();
    return record != nullptr && in_signal::copy_name(*record, kernel.data(), kernel.size(), name) != 0 ? name : "";
}

// On a thread of its own: Catch2 has an alternate stack on this one.
template <class F>
void on_thread(F f) {
    std::thread{f}.join();
}

// One byte of a page can be read if the kernel can.
bool can_be_read(void const* at) {
    int ends[2];
    if (::pipe(ends) != 0) return false;
    bool const read = ::write(ends[1], at, 1) == 1;
    ::close(ends[0]);
    ::close(ends[1]);
    return read;
}

}  // namespace

TEST_CASE("the name is set for the scope, cut to 15 bytes, and the old one put back", "[thread_guard]") {
    std::string inside, cut, nested, between, after;
    on_thread([&] {
        ::prctl(PR_SET_NAME, "before");
        {
            thread_guard here{"worker"};
            inside = name_now();
            {
                thread_guard deeper{"a name of more than fifteen bytes"};
                cut = name_now();
            }
            between = name_now();
            {
                thread_guard unnamed;
                nested = name_now();
            }
        }
        after = name_now();
    });
    CHECK(inside == "worker");
    CHECK(cut == "a name of more ");
    CHECK(between == "worker");
    CHECK(nested == "worker");
    CHECK(after == "before");
}

TEST_CASE("reports know the whole name, up to 63 bytes", "[thread_guard]") {
    std::string const longest(80, 'x');
    std::string inside, cut, nested, between, renamed, after;
    on_thread([&] {
        {
            thread_guard here{"a worker with more than fifteen letters"};
            inside = long_name_now();
            {
                thread_guard deeper{longest.c_str()};
                cut = long_name_now();
                {
                    thread_guard unnamed;
                    nested = long_name_now();
                }
            }
            between = long_name_now();
            ::prctl(PR_SET_NAME, "renamed");
            renamed = long_name_now();
        }
        after = long_name_now();
    });
    CHECK(inside == "a worker with more than fifteen letters");
    CHECK(cut == longest.substr(0, 63));
    CHECK(nested == cut);
    CHECK(between == inside);
    CHECK(renamed.empty());
    CHECK(after.empty());
}

TEST_CASE("the name of a thread that is gone is not that of the next one", "[thread_guard]") {
    std::string after = "not asked";
    on_thread([] {
        auto* const for_ever = new thread_guard{"one who does not clear up behind himself"};
        static_cast<void>(for_ever);
    });
    on_thread([&] {
        thread_guard here;
        ::prctl(PR_SET_NAME, "one who does not");
        after = long_name_now();
    });
    CHECK(after.empty());
}

TEST_CASE("a guard of the first thread may be static, and it keeps its name to the end", "[thread_guard]") {
    auto subject = child::run([] {
        static struct last {
            ~last() { test::say(long_name_now() + ", " + name_now()); }
        } const says;
        static thread_guard here{"the thread that main runs on"};
        static struct first {
            ~first() { test::say(long_name_now()); }
        } const says_first;
        ::prctl(PR_SET_NAME, "the thread that");
        std::exit(0);
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
    CHECK(end.out.rfind("the thread that main runs on\n, ", 0) == 0);
}

TEST_CASE("a guard tells where the stack of its thread lies", "[thread_guard]") {
    on_thread([] {
        thread_guard here;
        auto const* const record = in_signal::record_of(*in_signal::the_table.load(), test::thread_id());
        auto const at = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
        CHECK((record != nullptr && record->stack.lowest < at && at < record->stack.highest));
    });
}

TEST_CASE("the alternate stack is as large as a handler needs, with an unusable page below", "[thread_guard]") {
    stack_t inside{};
    stack_t after{};
    bool usable = false;
    bool below = true;
    on_thread([&] {
        {
            thread_guard here;
            inside = stack_now();
            char* const bottom = static_cast<char*>(inside.ss_sp);
            bottom[0] = 1;
            bottom[inside.ss_size - 1] = 1;
            usable = can_be_read(bottom) && can_be_read(bottom + inside.ss_size - 1);
            below = can_be_read(bottom - 1) || can_be_read(bottom - 4096);
        }
        after = stack_now();
    });
    CHECK(inside.ss_flags == 0);
    CHECK(inside.ss_size >= posix::alternate_stack_need(0));
    CHECK(inside.ss_size >= 65536);
    CHECK(usable);
    CHECK_FALSE(below);
    CHECK(after.ss_flags == SS_DISABLE);
}

TEST_CASE("an alternate stack that is large enough is kept, a smaller one replaced for the scope", "[thread_guard]") {
    bool const large = GENERATE(true, false);
    std::size_t const size = large ? 1 << 20 : 8192;
    std::vector<char> memory(size);
    stack_t inside{};
    stack_t after{};
    on_thread([&] {
        stack_t mine{};
        mine.ss_sp = memory.data();
        mine.ss_size = size;
        ::sigaltstack(&mine, nullptr);
        {
            thread_guard here;
            inside = stack_now();
        }
        after = stack_now();
        stack_t none{};
        none.ss_flags = SS_DISABLE;
        ::sigaltstack(&none, nullptr);
    });
    CHECK((inside.ss_sp == memory.data()) == large);
    CHECK(inside.ss_size >= posix::alternate_stack_need(65536));
    CHECK(after.ss_sp == memory.data());
    CHECK(after.ss_size == size);
}

TEST_CASE("a stack that the program has installed over ours meanwhile stays", "[thread_guard]") {
    std::vector<char> memory(1 << 20);
    stack_t after{};
    on_thread([&] {
        stack_t mine{};
        mine.ss_sp = memory.data();
        mine.ss_size = memory.size();
        {
            thread_guard here;
            ::sigaltstack(&mine, nullptr);
        }
        after = stack_now();
        mine.ss_flags = SS_DISABLE;
        ::sigaltstack(&mine, nullptr);
    });
    CHECK(after.ss_sp == memory.data());
}

TEST_CASE("guards of a thread give their memory back", "[thread_guard]") {
    on_thread([] {
        thread_guard first;
        std::size_t const before = test::count_of(test::contents_of("/proc/self/maps"), "\n");
        for (int i = 0; i < 100; ++i) std::thread{[] { thread_guard here; }}.join();
        std::size_t const after = test::count_of(test::contents_of("/proc/self/maps"), "\n");
        CHECK(after < before + 20);
    });
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which need memory of their own
TEST_CASE("without memory it throws, and name and stack are as before", "[thread_guard]") {
    auto subject = child::run([] {
        ::prctl(PR_SET_NAME, "before");
        rlimit const none{0, 0};
        ::setrlimit(RLIMIT_AS, &none);
        try {
            thread_guard here{"worker"};
            return 1;
        } catch (error const& refused) {
            if (refused.code() != ENOMEM || std::string{refused.call()} != "mmap") return 2;
        }
        if (name_now() != "before") return 3;
        return (stack_now().ss_flags & SS_DISABLE) != 0 ? 0 : 4;
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}
#endif

static std::size_t overflow_stack(std::size_t depth);
static std::size_t (*volatile overflow)(std::size_t) = overflow_stack;
__attribute__((noinline, no_sanitize("address", "undefined"))) static std::size_t overflow_stack(std::size_t depth) {
    char volatile page[4096];
    page[depth % sizeof page] = 1;
    std::size_t const below = overflow(depth + 1);
    return below + static_cast<std::size_t>(page[depth % sizeof page]);
}

TEST_CASE("an overflow of a worker's stack is reported and dies of SIGSEGV", "[thread_guard]") {
    auto subject = child::run([] {
        guard signals{on_crash(dump_threads)};
        std::thread worker{[] {
            thread_guard here{"deep"};
            overflow_stack(1);
        }};
        worker.join();
    });
    auto const& end = subject.wait();
    INFO(end.describe().substr(0, 3000));
    CHECK(end.killed_by(SIGSEGV));
    auto const first = thread_with(end.err, "where it happened");
    CHECK(first.head.find("\"deep\"") != std::string::npos);
    CHECK(first.frame_is(0, "overflow_stack(unsigned long)"));
    CHECK(end.err.find("tocsin: end of report, 2 threads") != std::string::npos);
}

TEST_CASE("without a thread_guard an overflow dies of SIGSEGV too, without a report", "[thread_guard]") {
    auto subject = child::run([] {
        guard signals{on_crash(dump_threads)};
        std::thread worker{[] { overflow_stack(1); }};
        worker.join();
    });
    auto const& end = subject.wait();
    CHECK(end.killed_by(SIGSEGV));
    CHECK(end.err.empty());
}
