// SPDX-License-Identifier: MIT
// The forms of a report besides text.
#include <tocsin/forms.hpp>

#include <tocsin/tocsin.hpp>
#include <tocsin/trace.hpp>

#include <pthread.h>
#include <unistd.h>

#include <string>
#include <thread>

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

[[gnu::noinline]] void descend(int depth) {
    int volatile kept = depth;
    if (depth == 0)
        write_null();
    else
        descend(depth - 1);
    kept = kept + 1;
}

// Three threads at one place and a crash some calls deep, reported in one form.
template <class Form>
test::outcome crash_as(Form form, int depth = 3) {
    auto victim = child::run([form, depth] {
        guard signals{on_crash(dump_threads.as(form))};
        for (int i = 0; i < 3; ++i) {
            std::thread waits{[] {
                ::pthread_setname_np(::pthread_self(), "wait;\"er");
                for (;;) ::pause();
            }};
            waits.detach();
        }
        while (test::names_in("/proc/self/task").size() < 4) ::sched_yield();
        for (auto const& thread : test::names_in("/proc/self/task"))
            if (std::stoi(thread) != ::getpid()) test::until_asleep(std::stoi(thread));
        descend(depth);
    });
    return victim.wait();
}

// What a collapsed line says behind `function`, without the C library's own functions, which have no names.
std::string behind(std::string const& line, std::string const& function) {
    std::size_t at = line.find(function);
    if (at == std::string::npos) return {};
    at += function.size();
    for (std::string const unnamed = ";libc.so.6+0x"; line.compare(at, unnamed.size(), unnamed) == 0;)
        at = line.find_first_not_of("0123456789abcdef", at + unnamed.size());
    return line.substr(at);
}

// Strict, for objects, arrays, strings, numbers and the three words; true if all of `text` is one value.
class json_reader {
  public:
    explicit json_reader(std::string const& text) : text_{text} {}
    bool whole() { return value() && at_ == text_.size(); }

  private:
    bool take(char c) { return at_ < text_.size() && text_[at_] == c && ++at_ != 0; }
    bool word(std::string const& one) {
        if (text_.compare(at_, one.size(), one) != 0) return false;
        at_ += one.size();
        return true;
    }
    bool string() {
        if (!take('"')) return false;
        while (at_ < text_.size() && text_[at_] != '"') {
            char const c = text_[at_++];
            if (c < ' ' || c > '~') return false;
            if (c != '\\') continue;
            char const next = at_ < text_.size() ? text_[at_++] : '\0';
            if (std::string{"\"\\/bfnrt"}.find(next) != std::string::npos) continue;
            if (next != 'u' || at_ + 4 > text_.size()) return false;
            at_ += 4;
        }
        return take('"');
    }
    bool number() {
        std::size_t const start = at_;
        take('-');
        while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
        return at_ != start;
    }
    template <class Part>
    bool list(char end, Part part) {
        if (take(end)) return true;
        do
            if (!part()) return false;
        while (take(','));
        return take(end);
    }
    bool value() {
        if (take('{')) return list('}', [this] { return string() && take(':') && value(); });
        if (take('[')) return list(']', [this] { return value(); });
        if (at_ < text_.size() && text_[at_] == '"') return string();
        return word("true") || word("false") || word("null") || number();
    }

    std::string const& text_;
    std::size_t at_ = 0;
};

bool is_json(std::string const& text) { return json_reader{text}.whole(); }

}  // namespace

TEST_CASE("as(json) is one valid object a line, with the signal first and the end last", "[forms]") {
    std::string const good = "{\"a\":[1,-2,{}],\"b\":\"\\u0041\\\"\"}";
    CHECK(is_json(good));
    CHECK_FALSE(is_json(good.substr(0, good.size() - 1)));
    CHECK_FALSE(is_json("{\"a\":\"\n\"}"));
    auto const end = crash_as(json);
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    auto const lines = test::lines_of(end.err);
    REQUIRE(lines.size() > 4);
    for (auto const& line : lines) CHECK(is_json(line));
    CHECK(lines[0].find("\"why\":\"crash\"") != std::string::npos);
    CHECK(lines[0].find("\"signal\":\"SIGSEGV\"") != std::string::npos);
    CHECK(lines[0].find("\"address\":\"0x0\"") != std::string::npos);
    CHECK(lines[1].find("\"frames\":[{\"number\":0,") != std::string::npos);
    CHECK(lines[1].find("\"function\":\"(anonymous namespace)::write_null()\"") != std::string::npos);
    CHECK(end.err.find("\"name\":\"wait;\\\"er\",\"count\":3,\"also\":[{\"id\":") != std::string::npos);
    CHECK(lines.back() == "{\"type\":\"end\",\"threads\":4}");
}

TEST_CASE("as(json) of a deep stack says how many frames are left out", "[forms]") {
    auto const end = crash_as(json, 5000);
    auto const lines = test::lines_of(end.err);
    REQUIRE(lines.size() > 2);
    for (auto const& line : lines) CHECK(is_json(line));
    CHECK(lines[1].find("\"omitted_frames\":") != std::string::npos);
    CHECK(lines[1].find("\"function\":\"main\"") != std::string::npos);
}

TEST_CASE("as(collapsed) is a stack and a count a line, and nothing else", "[forms]") {
    auto const end = crash_as(collapsed);
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    auto const lines = test::lines_of(end.err);
    REQUIRE(lines.size() == 2);
    for (auto const& line : lines) CHECK(line.find_last_of(' ') + 2 == line.size());
    CHECK(lines[0].find("::descend(int);") != std::string::npos);
    CHECK(lines[0].find("::write_null() 1") != std::string::npos);
    CHECK(lines[1].rfind("wait:\\x22er;", 0) == 0);
    CHECK(behind(lines[1], ";pause") == " 3");
}

TEST_CASE("as(markup) gives modules, mappings and addresses to a symbolizer", "[forms]") {
    auto const end = crash_as(markup);
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    CHECK(end.err.find("{{{reset}}}\n") != std::string::npos);
    CHECK(end.err.find("{{{module:0x0:/") != std::string::npos);
    CHECK(end.err.find(":load:0x0:rx:0x") != std::string::npos);
    CHECK(end.err.find("{{{bt:0:0x") < end.err.find(":pc}}}"));
    CHECK(end.err.find(":ra}}}") != std::string::npos);
    CHECK(end.err.find("write_null") == std::string::npos);
}

TEST_CASE("as(faulthandler) speaks CPython's grammar", "[forms]") {
    auto const end = crash_as(faulthandler);
    INFO(end.describe());
    CHECK(end.killed_by(SIGSEGV));
    auto const lines = test::lines_of(end.err);
    REQUIRE(lines.size() > 10);
    CHECK(lines[0] == "Fatal error: Segmentation fault");
    CHECK(lines[1].empty());
    CHECK(lines[2].rfind("Current thread 0x0000000", 0) == 0);
    CHECK(lines[2].find("] (most recent call first):") != std::string::npos);
    CHECK(lines[3].rfind("  File \"/", 0) == 0);
    CHECK(lines[3].find("\", line ??? in (anonymous namespace)::write_null()") != std::string::npos);
    CHECK(test::count_of(end.err, "\nThread 0x") == 3);
    CHECK(test::count_of(end.err, "[wait;\\x22er] (most recent call first):\n") == 3);
    CHECK(end.err.find("\nCurrent thread's C stack trace (most recent call first):\n  Binary file \"/") !=
          std::string::npos);
}

TEST_CASE("breadcrumbs are the frames of as(faulthandler), with file and line", "[forms]") {
    auto victim = child::run([] {
        guard signals{on_crash(dump_threads.as(faulthandler).this_thread())};
        trace outer{"loading"};
        trace inner{"parsing", "x"};
        write_null();
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    auto const lines = test::lines_of(end.err);
    REQUIRE(lines.size() > 4);
    CHECK(lines[2] == "Stack (most recent call first):");
    CHECK(lines[3].rfind("  File \"", 0) == 0);
    CHECK(lines[3].find("forms.cpp\", line ") != std::string::npos);
    CHECK(lines[4].find("forms.cpp\", line ") != std::string::npos);
    CHECK(std::stoi(lines[3].substr(lines[3].find("line ") + 5)) >
          std::stoi(lines[4].substr(lines[4].find("line ") + 5)));
}

TEST_CASE("registers are shown of a crash, and can be left out", "[forms]") {
    bool const shown = GENERATE(true, false);
    auto victim = child::run([shown] {
        if (shown) {
            guard signals{on_crash(dump_threads)};
            write_null();
        } else {
            guard signals{on_crash(dump_threads.without_registers())};
            write_null();
        }
    });
    auto const& end = victim.wait();
    INFO(end.describe());
    CHECK((end.err.find("  registers: ") != std::string::npos) == shown);
}
