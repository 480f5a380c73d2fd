// SPDX-License-Identifier: MIT
// Reports whose steps fault or do not end.
#include <tocsin/in_signal/last_resort.hpp>

#include <tocsin/tocsin.hpp>

#include <sys/resource.h>
#include <unistd.h>

#include <string>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/report_text.hpp"

using namespace tocsin;
using test::child;

namespace {

[[gnu::noinline]] void write_null() {
    static int volatile* volatile nowhere = nullptr;
    *nowhere = 1;
}

// A reader of lines that is of no use.
bool never_answer(void*, std::uintptr_t, in_signal::take_line, void*) noexcept {
    for (bool volatile wait = true; wait;) {
    }
    return false;
}
bool fault_inside(void*, std::uintptr_t, in_signal::take_line, void*) noexcept {
    write_null();
    return false;
}
bool call_abort(void*, std::uintptr_t, in_signal::take_line, void*) noexcept { std::abort(); }

in_signal::line_source source{nullptr, nullptr};

void read_lines_by(in_signal::find_lines find) {
    source.find = find;
    in_signal::desk_of(*in_signal::the_table.load())->lines.store(&source);
}

// Text, but one part of it is broken.
template <int Broken>
struct broken_form : in_signal::text_form {
    static void title(in_signal::report_sheet& to) noexcept {
        if (Broken == 1) write_null();
        text_form::title(to);
    }
    static void thread(in_signal::report_sheet& to, in_signal::thread_view const& of) noexcept {
        if (Broken == 2) write_null();
        if (Broken == 3) never_answer(nullptr, 0, nullptr, nullptr);
        text_form::thread(to, of);
    }
};
template <int Broken>
inline constexpr form_word<broken_form<Broken>> broken{};

}  // namespace

TEST_CASE("a reader of lines that faults or aborts costs the lines, and nothing else", "[last_resort]") {
    auto const find = GENERATE(&fault_inside, &call_abort);
    auto victim = child::run([find] {
        guard signals{on_crash(dump_threads)};
        read_lines_by(find);
        write_null();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(end.err.find("tocsin: end of report, ") != std::string::npos);
    CHECK(end.err.find("fault of its own") == std::string::npos);
}

TEST_CASE("a reader of lines that does not end is left in time, with a timer and without", "[last_resort]") {
    bool const timer = GENERATE(true, false);
    auto victim = child::run([timer] {
        guard signals{on_crash(dump_threads)};
        read_lines_by(&never_answer);
        rlimit const none{0, 0};
        if (!timer) ::setrlimit(RLIMIT_SIGPENDING, &none);
        write_null();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(end.err.find("tocsin: end of report, ") != std::string::npos);
}

TEST_CASE("a fault between the steps leaves the addresses of the stack, and the same death", "[last_resort]") {
    int const where = GENERATE(1, 2);
    auto victim = child::run([where] {
        if (where == 1) {
            guard signals{on_crash(dump_threads.as(broken<1>))};
            write_null();
        } else {
            guard signals{on_crash(dump_threads.as(broken<2>))};
            write_null();
        }
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(end.err.find("tocsin: the report ended in a fault of its own\n") != std::string::npos);
    CHECK(end.err.find("tocsin: SIGSEGV (address not mapped) at 0x0000000000000000, thread ") != std::string::npos);
    CHECK(end.err.find(", raw: ") != std::string::npos);
}

TEST_CASE("a report on request whose form faults answers EFAULT, and the process goes on", "[last_resort]") {
    auto subject = child::run([] {
        guard signals{on_crash(dump_threads), on<SIGQUIT>(dump_threads.as(broken<1>).to(1))};
        ::raise(SIGQUIT);
        test::wait_for_parent();
        return 3;
    });
    CHECK(subject.expect_line("tocsin: the report ended in a fault of its own"));
    subject.close_input();
    CHECK(subject.wait().exited(3));
}

TEST_CASE("a report that hangs between its steps is given up, and dies of the crash", "[last_resort]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads.as(broken<3>))};
        write_null();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(end.err.find(", raw: ") != std::string::npos);
}
