// SPDX-License-Identifier: MIT
#include <tocsin/trace.hpp>

#include <tocsin/thread_guard.hpp>

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/report_text.hpp"

using namespace tocsin;
using test::child;
using test::require_in_child;

namespace {

// "load here; parse here" without the places, innermost first; "none" without a record.
std::string crumbs_of(int thread) {
    in_signal::table* const in = in_signal::the_table.load();
    auto const* const record = in != nullptr ? in_signal::record_of(*in, thread) : nullptr;
    if (record == nullptr) return "none";
    std::string all;
    in_signal::careful_reader memory;
    in_signal::each_crumb(*record, memory, [&](in_signal::crumb const& each) {
        in_signal::fixed_line<1024> line;
        in_signal::append_crumb(line, each);
        std::string_view const text{line.data(), line.size()};
        std::string_view const said = text.substr(0, text.rfind(" at "));
        all += (all.empty() ? "" : "; ") + std::string{said.substr(0, said.rfind(", "))};
    });
    return all;
}
std::string crumbs() { return crumbs_of(test::thread_id()); }

in_signal::crumb innermost() {
    in_signal::crumb found;
    in_signal::careful_reader memory;
    bool first = true;
    in_signal::each_crumb(*posix::own_record(), memory, [&](in_signal::crumb const& each) {
        if (std::exchange(first, false)) found = each;
    });
    return found;
}

enum class colour : unsigned char { red = 3 };

template <class F>
void on_thread(F f) {
    std::thread{f}.join();
}

}  // namespace

TEST_CASE("breadcrumbs are there for their scope, innermost first", "[trace]") {
    trace const outer{"outer"};
    CHECK(crumbs() == "outer");
    {
        trace const middle{"middle"};
        trace const inner{"inner"};
        CHECK(crumbs() == "inner; middle; outer");
    }
    CHECK(crumbs() == "outer");
    for (int i = 0; i < 3; ++i) {
        trace const step{"step", i};
        CHECK(crumbs() == "step " + std::to_string(i) + "; outer");
    }
    CHECK(crumbs() == "outer");
}

TEST_CASE("a detail is a text of any kind, or an integer", "[trace]") {
    std::string const text = "a \"text\"";
    std::string_view const part = std::string_view{text}.substr(3, 4);
    std::filesystem::path const path = "/tmp/file";
    char const* const pointer = "pointer";
    char const* const null = nullptr;
    char buffer[8] = "buffer";
    std::vector<char> const bytes{'b', '\0', 's'};
    { trace const here{"a", text}; CHECK(crumbs() == "a \"a \\x22text\\x22\""); }
    { trace const here{"a", part}; CHECK(crumbs() == "a \"text\""); }
    { trace const here{"a", std::string_view{text}.substr(0, 1)}; CHECK(crumbs() == "a \"a\""); }
    { trace const here{"a", path}; CHECK(crumbs() == "a \"/tmp/file\""); }
    { trace const here{"a", pointer}; CHECK(crumbs() == "a \"pointer\""); }
    { trace const here{"a", null}; CHECK(crumbs() == "a"); }
    { trace const here{"a", buffer}; CHECK(crumbs() == "a \"buffer\""); }
    { trace const here{"a", bytes}; CHECK(crumbs() == "a \"b\\x00s\""); }
    { trace const here{"a", "literal"}; CHECK(crumbs() == "a \"literal\""); }
    { trace const here{"a", ""}; CHECK(crumbs() == "a \"\""); }
    { trace const here{"a", -7}; CHECK(crumbs() == "a -7"); }
    { trace const here{"a", std::size_t{0} - 1}; CHECK(crumbs() == "a 18446744073709551615"); }
    { trace const here{"a", INT64_MIN}; CHECK(crumbs() == "a -9223372036854775808"); }
    { trace const here{"a", static_cast<unsigned char>(200)}; CHECK(crumbs() == "a 200"); }
    { trace const here{"a", colour::red}; CHECK(crumbs() == "a 3"); }
}

TEST_CASE("a text is looked at when it is shown, not when the scope is entered", "[trace]") {
    char name[8] = "first";
    trace const here{"file", static_cast<char const*>(name)};
    std::string_view{"second"}.copy(name, 7);
    CHECK(crumbs() == "file \"second\"");
}

static void a_function_of_its_own(int& line, in_signal::crumb& found) {
    line = __LINE__ + 1;
    trace const here{"work"};
    found = innermost();
}

TEST_CASE("a breadcrumb knows where it stands in the source", "[trace]") {
    int line = 0;
    in_signal::crumb found;
    a_function_of_its_own(line, found);
    CHECK(found.line == line);
    CHECK(std::string_view{found.function.data, found.function.size} == "a_function_of_its_own");
    std::string_view const file{found.file.data, found.file.size};
    CHECK(file.substr(file.size() - 9) == "trace.cpp");
    trace const with_detail{"work", 1};
    line = __LINE__ - 1;
    CHECK(innermost().line == line);
}

TEST_CASE("an exception takes the breadcrumbs of the scopes it leaves", "[trace]") {
    trace const outer{"outer"};
    try {
        trace const inner{"inner"};
        throw std::runtime_error{"out"};
    } catch (std::runtime_error const&) {
        CHECK(crumbs() == "outer");
    }
}

TEST_CASE("each thread has its own, and others can read them", "[trace]") {
    trace const mine{"mine"};
    std::string own;
    std::string of_main;
    int const main = test::thread_id();
    std::atomic<int> other{0};
    std::atomic<bool> seen{false};
    std::thread thread{[&] {
        trace const theirs{"theirs", 42};
        own = crumbs();
        of_main = crumbs_of(main);
        other = test::thread_id();
        test::until_set(seen);
    }};
    test::until_set(other);
    std::string const of_other = crumbs_of(other);
    seen = true;
    thread.join();
    CHECK(own == "theirs 42");
    CHECK(of_other == "theirs 42");
    CHECK(of_main == "mine");
    CHECK(crumbs_of(other) == "none");
}

namespace {
std::string while_ending;
struct late {
    ~late() {
        trace const here{"in a destructor"};
        while_ending += crumbs() + ", ";
    }
};
}  // namespace

TEST_CASE("they work while a thread ends", "[trace]") {
    static pthread_key_t key;
    ::pthread_key_create(&key, [](void*) {
        trace const here{"in a key's destructor"};
        while_ending += crumbs();
    });
    int number = 0;
    on_thread([&] {
        static thread_local late object;
        static_cast<void>(&object);
        number = test::thread_id();
        trace const here{"running"};
        ::pthread_setspecific(key, &key);
    });
    CHECK(while_ending == "in a destructor, in a key's destructor");
    ::pthread_key_delete(key);
}

TEST_CASE("a thread that ends in the midst of breadcrumbs takes them along", "[trace]") {
    int number = 0;
    pthread_t thread;
    auto const body = [](void* given) -> void* {
        trace const here{"running"};
        *static_cast<int*>(given) = test::thread_id();
        ::pthread_exit(nullptr);
    };
    REQUIRE(::pthread_create(&thread, nullptr, body, &number) == 0);
    ::pthread_join(thread, nullptr);
    CHECK(crumbs_of(number) == "none");
}

TEST_CASE("exit keeps the breadcrumbs that it was called in", "[trace]") {
    bool const worker = GENERATE(false, true);
    auto subject = child::run([&] {
        std::atexit([] {
            trace const here{"in atexit"};
            test::say(crumbs());
        });
        auto const work = [] {
            trace const here{"work"};
            std::exit(7);
        };
        if (!worker) work();
        on_thread(work);
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(7));
    CHECK(end.out == "in atexit; work\n");
}

TEST_CASE("a forked child has those of the thread that forked", "[trace]") {
    auto subject = child::run([] {
        trace const outer{"outer"};
        {
            trace const inner{"inner"};
            int const parent = test::thread_id();
            pid_t const forked = ::fork();
            if (forked == 0) {
                require_in_child(crumbs() == "inner; outer" && crumbs_of(parent) == "none");
                trace const more{"more"};
                require_in_child(crumbs() == "more; inner; outer");
            } else {
                int status = -1;
                ::waitpid(forked, &status, 0);
                require_in_child(status == 0 && crumbs() == "inner; outer");
            }
        }
        require_in_child(crumbs() == "outer");
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}

namespace {
std::atomic<unsigned> handled{0};
std::atomic<unsigned> odd{0};
void leave_one(int) {
    auto const* const record = posix::own_record();
    auto const* const before = record->innermost.load();
    {
        trace const here{"in the handler"};
        if (record->innermost.load() == before) ++odd;
    }
    if (record->innermost.load() != before) ++odd;
    ++handled;
}
}  // namespace

TEST_CASE("a handler may come at any instruction", "[trace]") {
    auto subject = child::run([] {
        trace const outer{"outer"};
        struct sigaction action {};
        action.sa_handler = &leave_one;
        ::sigaction(SIGUSR1, &action, nullptr);
        pthread_t const target = ::pthread_self();
        std::atomic<bool> over{false};
        std::thread sender{[&] {
            sigset_t own;
            ::sigemptyset(&own);
            ::sigaddset(&own, SIGUSR1);
            ::pthread_sigmask(SIG_BLOCK, &own, nullptr);
            while (!over) ::pthread_kill(target, SIGUSR1);
        }};
        while (handled < 300) {
            trace const one{"one"};
            trace const two{"two", 2};
        }
        require_in_child(odd == 0 && crumbs() == "outer");
        over = true;
        sender.join();
    });
    auto const& end = subject.wait();
    INFO(end.describe());
    CHECK(end.exited(0));
}

TEST_CASE("a thread_guard's record is that of the breadcrumbs", "[trace]") {
    on_thread([] {
        thread_guard const guarded{"a worker with a long name"};
        trace const here{"work"};
        char name[in_signal::longest_thread_name + 1];
        auto const* const record = in_signal::record_of(*in_signal::the_table.load(), test::thread_id());
        CHECK(record == posix::own_record());
        CHECK(in_signal::copy_name(*record, "a worker with a", 15, name) == 25);
        CHECK(std::string{name} == "a worker with a long name");
        CHECK(crumbs() == "work");
    });
}
