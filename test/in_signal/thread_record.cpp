// SPDX-License-Identifier: MIT
#include <tocsin/in_signal/thread_record.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"

using namespace tocsin::in_signal;

namespace {

// A table with records of its own, in a process that calls itself `process`.
struct world {
    explicit world(std::int32_t process = ::getpid()) : live{process}, in{std::make_unique<table>()} {
        in->live_process = &live;
    }
    thread_record& add(std::int32_t thread, std::int32_t process, std::uintptr_t pointer = 0) {
        records.push_back(std::make_unique<thread_record>());
        thread_record& made = *records.back();
        made.thread.store(thread);
        made.process.store(process);
        made.pointer.store(pointer);
        made.next = in->threads.load();
        in->threads.store(&made);
        return made;
    }

    tocsin::in_signal::atomic<std::int32_t> live;
    std::unique_ptr<table> in;
    std::vector<std::unique_ptr<thread_record>> records;
};

std::uintptr_t bits(char const* text) { return reinterpret_cast<std::uintptr_t>(text); }

void fill(trace_frame& frame, trace_frame const* outer, std::uint64_t number, char const* what) {
    frame.outer = outer;
    frame.number.store(number);
    frame.what = what;
    frame.detail = 0;
    frame.detail_size = 0;
    frame.file = "source/file.cpp";
    frame.function = "work";
    frame.line = 12;
    frame.kind = detail_kind::none;
}

// Breadcrumbs "0" (the outermost), "1", and so on.
struct crumbs_of_a_thread {
    explicit crumbs_of_a_thread(unsigned depth) : frames(depth), names(depth) {
        for (unsigned i = 0; i < depth; ++i) {
            names[i] = std::to_string(i);
            fill(frames[i], i != 0 ? &frames[i - 1] : nullptr, i + 1, names[i].c_str());
        }
        record.count.store(depth);
        if (depth != 0) record.innermost.store(&frames[depth - 1]);
    }
    std::vector<trace_frame> frames;
    std::vector<std::string> names;
    thread_record record;
};

template <std::size_t Capacity>
std::string text_of(text_copy<Capacity> const& copy) {
    return {copy.data, copy.size};
}

std::vector<crumb> seen(thread_record const& of, unsigned* total = nullptr) {
    std::vector<crumb> all;
    careful_reader memory;
    unsigned const count = each_crumb(of, memory, [&](crumb const& each) { all.push_back(each); });
    if (total != nullptr) *total = count;
    return all;
}

std::string shown(crumb const& of) {
    fixed_line<2048> line;
    append_crumb(line, of);
    return {line.data(), line.size()};
}

crumb only(trace_frame& frame) {
    thread_record record;
    record.innermost.store(&frame);
    auto const all = seen(record);
    REQUIRE(all.size() == 1);
    return all[0];
}

std::string name_in(thread_record const& of, std::string const& kernel_name) {
    char name[longest_thread_name + 1];
    std::size_t const size = copy_name(of, kernel_name.data(), kernel_name.size(), name);
    return {name, size};
}

void give_name(thread_record& to, std::string const& name) {
    std::memcpy(to.name, name.data(), name.size());
    to.name_size.store(static_cast<std::uint32_t>(name.size()));
}

}  // namespace

TEST_CASE("a record is found by the thread's number", "[thread_record]") {
    world all;
    auto const& first = all.add(1001, ::getpid());
    auto const& second = all.add(1002, ::getpid());
    CHECK(record_of(*all.in, 1001) == &first);
    CHECK(record_of(*all.in, 1002) == &second);
    CHECK(record_of(*all.in, 1003) == nullptr);
}

TEST_CASE("records of the process that this one was forked from are none", "[thread_record]") {
    world all;
    all.add(1001, ::getpid() + 1);
    CHECK(record_of(*all.in, 1001) == nullptr);
    auto const& own = all.add(1001, ::getpid());
    CHECK(record_of(*all.in, 1001) == &own);
}

TEST_CASE("a child under a new number finds its record by its thread pointer", "[thread_record]") {
    world all;
    auto const& own = all.add(::getpid() + 1, ::getpid() + 1, thread_pointer());
    all.add(::getpid() + 2, ::getpid() + 1, thread_pointer() + 4096);
    CHECK(record_of(*all.in, ::getpid()) == &own);
    CHECK(record_of(*all.in, ::getpid() + 3) == nullptr);
    thread_record const* of_another = &own;
    int another = 0;
    std::thread{[&] {
        another = tocsin::in_signal::gettid();
        of_another = record_of(*all.in, ::getpid());
    }}.join();
    CHECK(another != ::getpid());
    CHECK(of_another == nullptr);
}

TEST_CASE("a record that is free or in the making belongs to nobody", "[thread_record]") {
    world all;
    all.add(0, ::getpid(), thread_pointer());
    all.add(record_in_making, ::getpid(), thread_pointer());
    CHECK(record_of(*all.in, ::getpid()) == nullptr);
}

TEST_CASE("breadcrumbs come innermost first, with all that they say", "[thread_record]") {
    crumbs_of_a_thread thread{3};
    thread.frames[1].line = 77;
    thread.frames[1].file = "other.cpp";
    thread.frames[1].function = "other";
    unsigned total = 0;
    auto const all = seen(thread.record, &total);
    REQUIRE(all.size() == 3);
    CHECK(total == 3);
    CHECK(text_of(all[0].what) == "2");
    CHECK(text_of(all[1].what) == "1");
    CHECK(text_of(all[2].what) == "0");
    CHECK(text_of(all[1].file) == "other.cpp");
    CHECK(text_of(all[1].function) == "other");
    CHECK(all[1].line == 77);
    CHECK(all[2].line == 12);
}

TEST_CASE("a thread without breadcrumbs has none", "[thread_record]") {
    crumbs_of_a_thread thread{0};
    unsigned total = 1;
    CHECK(seen(thread.record, &total).empty());
    CHECK(total == 0);
}

TEST_CASE("many are counted, and the innermost shown", "[thread_record]") {
    auto const depth = static_cast<unsigned>(GENERATE(31, 32, 33, 9'999, 10'000, 20'000));
    crumbs_of_a_thread thread{depth};
    unsigned total = 0;
    auto const all = seen(thread.record, &total);
    unsigned const visible = depth < most_crumbs ? depth : most_crumbs;
    REQUIRE(all.size() == visible);
    CHECK(total == (depth < most_counted_crumbs ? depth : most_counted_crumbs));
    CHECK(text_of(all.front().what) == std::to_string(depth - 1));
    CHECK(text_of(all.back().what) == std::to_string(depth - visible));
}

TEST_CASE("a circle comes to an end", "[thread_record]") {
    crumbs_of_a_thread thread{3};
    thread.frames[0].outer = &thread.frames[2];
    unsigned total = 0;
    CHECK(seen(thread.record, &total).size() == most_crumbs);
    CHECK(total == most_counted_crumbs);
}

TEST_CASE("a chain into nowhere shows what can be read", "[thread_record]") {
    crumbs_of_a_thread thread{3};
    auto const nowhere = GENERATE(std::uintptr_t{8}, std::uintptr_t{0x123456789000}, ~std::uintptr_t{7});
    thread.frames[1].outer = reinterpret_cast<trace_frame const*>(nowhere);
    CHECK(seen(thread.record).size() == 2);
}

TEST_CASE("texts that cannot be read are empty", "[thread_record]") {
    trace_frame frame;
    fill(frame, nullptr, 1, "what");
    auto* const nowhere =
        static_cast<char*>(::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    frame.what = frame.file = frame.function = nowhere;
    frame.kind = detail_kind::counted_text;
    frame.detail = bits(nowhere);
    frame.detail_size = 1'000'000'000;
    crumb const found = only(frame);
    CHECK(found.what.size + found.file.size + found.function.size + found.detail.size == 0);
    CHECK(found.line == 12);
    frame.what = frame.file = frame.function = nullptr;
    frame.detail = 0;
    CHECK(only(frame).what.size == 0);
    ::munmap(nowhere, 4096);
}

TEST_CASE("a text that runs into unmapped memory shows its start", "[thread_record]") {
    auto* const pages = static_cast<char*>(
        ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ::munmap(pages + 4096, 4096);
    std::memcpy(pages + 4093, "abc", 3);
    trace_frame frame;
    fill(frame, nullptr, 1, pages + 4093);
    CHECK(text_of(only(frame).what) == "abc");
    ::munmap(pages, 4096);
}

TEST_CASE("long texts are cut at the end, long paths at the beginning", "[thread_record]") {
    std::string const what(1000, 'w');
    std::string const detail = std::string(300, 'd') + "end";
    std::string const file = "/start" + std::string(300, 'f') + "/end.cpp";
    trace_frame frame;
    fill(frame, nullptr, 1, what.c_str());
    frame.file = file.c_str();
    frame.kind = detail_kind::text;
    frame.detail = bits(detail.c_str());
    crumb const found = only(frame);
    CHECK(text_of(found.what) == what.substr(0, sizeof found.what.data));
    CHECK(found.what.cut);
    CHECK(text_of(found.detail) == std::string(sizeof found.detail.data, 'd'));
    CHECK(found.detail.cut);
    CHECK(text_of(found.file) == file.substr(file.size() - sizeof found.file.data));
    CHECK(found.file.cut);
    CHECK_FALSE(found.function.cut);
    CHECK(shown(found).find("wwww... \"dddd") != std::string::npos);
    CHECK(shown(found).find("dddd...\", work at ...ffff") != std::string::npos);
}

TEST_CASE("a text of just the right size is whole", "[thread_record]") {
    std::string const what(sizeof crumb::what.data, 'w');
    trace_frame frame;
    fill(frame, nullptr, 1, what.c_str());
    CHECK(text_of(only(frame).what) == what);
    CHECK_FALSE(only(frame).what.cut);
}

TEST_CASE("a counted text needs no zero, and may hold some", "[thread_record]") {
    char const text[] = {'a', '\0', 'b', 'c'};
    trace_frame frame;
    fill(frame, nullptr, 1, "what");
    frame.kind = detail_kind::counted_text;
    frame.detail = bits(text);
    frame.detail_size = 3;
    CHECK(text_of(only(frame).detail) == std::string("a\0b", 3));
    CHECK(shown(only(frame)) == "what \"a\\x00b\", work at source/file.cpp:12");
}

TEST_CASE("a breadcrumb is shown as one line, whatever it holds", "[thread_record]") {
    trace_frame frame;
    fill(frame, nullptr, 1, "loading");
    CHECK(shown(only(frame)) == "loading, work at source/file.cpp:12");
    frame.kind = detail_kind::number;
    frame.detail = static_cast<std::uintptr_t>(-5);
    CHECK(shown(only(frame)) == "loading -5, work at source/file.cpp:12");
    frame.kind = detail_kind::unsigned_number;
    frame.detail = ~std::uintptr_t{0};
    CHECK(shown(only(frame)) == "loading 18446744073709551615, work at source/file.cpp:12");
    frame.kind = detail_kind::text;
    frame.detail = bits("a \"path\"\n\033[2J");
    frame.what = "two\nlines";
    frame.function = "";
    CHECK(shown(only(frame)) == "two\\x0alines \"a \\x22path\\x22\\x0a\\x1b[2J\" at source/file.cpp:12");
}

TEST_CASE("a breadcrumb that is left while others are looked at is left out", "[thread_record]") {
    crumbs_of_a_thread thread{3};
    careful_reader memory;
    std::string visited;
    unsigned const total = each_crumb(thread.record, memory, [&](crumb const& each) {
        visited += text_of(each.what);
        thread.frames[1].number.store(visited == "2" ? 0 : 99);  // 99: and another one is in its place
    });
    CHECK(visited == "20");
    CHECK(total == 2);
}

// What a breadcrumb says belongs together, however fast they come and go.
TEST_CASE("breadcrumbs of a running thread are whole or not there", "[thread_record]") {
    thread_record record;
    trace_frame outermost;
    fill(outermost, nullptr, 1, "outermost");
    record.innermost.store(&outermost);
    record.count.store(1);
    std::atomic<bool> over{false};
    std::thread busy{[&] {
        char text[32];
        trace_frame frame;
        for (std::uint64_t number = 2; !over; ++number) {
            bool const even = number % 2 == 0;
            std::memset(text, even ? 'e' : 'o', sizeof text);
            frame.what = even ? "even" : "odd";
            frame.file = even ? "e.cpp" : "o.cpp";
            frame.function = "f";
            frame.line = even ? 2 : 1;
            frame.kind = detail_kind::counted_text;
            frame.detail = bits(text);
            frame.detail_size = sizeof text;
            frame.outer = &outermost;
            frame.number.store_relaxed(number);
            record.count.store_relaxed(number);
            record.innermost.store_release(&frame);
            for (std::uint64_t i = 0; i < number % 7 * 4; ++i) relax();
            record.innermost.store_release(&outermost);
            frame.number.store_relaxed(0);
            order_stores();
        }
        record.innermost.store(nullptr);
    }};
    unsigned whole = 0;
    unsigned last = 0;
    unsigned wrong = 0;
    unsigned looks = 0;
    unsigned raced = 0;
    for (; looks < 20'000 || (raced < 300 && looks < 300'000); ++looks) {
        std::uint64_t const before = record.count.load();
        auto const all = seen(record);
        if (record.count.load() != before) ++raced;
        if (!all.empty() && text_of(all.back().what) == "outermost") ++last;
        if (all.size() != 2) continue;
        ++whole;
        bool const even = text_of(all[0].what) == "even";
        std::string const detail(32, even ? 'e' : 'o');
        if (all[0].line != (even ? 2 : 1) || text_of(all[0].file) != (even ? "e.cpp" : "o.cpp") ||
            text_of(all[0].detail) != detail)
            ++wrong;
    }
    over = true;
    busy.join();
    CHECK(wrong == 0);
    CHECK(whole != 0);
    CHECK(last > looks - looks / 100);
}

TEST_CASE("a name is whole if it still begins with the kernel's", "[thread_record]") {
    thread_record record;
    CHECK(name_in(record, "worker").empty());
    give_name(record, "worker");
    CHECK(name_in(record, "worker") == "worker");
    CHECK(name_in(record, "renamed").empty());
    CHECK(name_in(record, "worke").empty());
    CHECK(name_in(record, "").empty());
    give_name(record, "worker of the second kind");
    CHECK(name_in(record, "worker of the s") == "worker of the second kind");
    CHECK(name_in(record, "worker of the ").empty());
    give_name(record, "fifteen letters");
    CHECK(name_in(record, "fifteen letters") == "fifteen letters");
    give_name(record, std::string(longest_thread_name, 'n'));
    CHECK(name_in(record, std::string(kernel_thread_name, 'n')) == std::string(longest_thread_name, 'n'));
}
