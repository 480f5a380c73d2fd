// SPDX-License-Identifier: MIT
#include <tocsin/in_signal/report_target.hpp>

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <string>

#include "support/catch.hpp"
#include "support/report_text.hpp"

using namespace tocsin;
using in_signal::fixed_line;
using in_signal::kept_descriptor;
using in_signal::report_target;

namespace {

std::string time_text(std::uint64_t seconds) {
    fixed_line<64> text;
    in_signal::append_time(text, seconds);
    return {text.data(), text.size()};
}

std::string libc_time_text(time_t seconds) {
    char text[64];
    tm parts{};
    ::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", ::gmtime_r(&seconds, &parts));
    return text;
}

std::string file_name(char const* pattern, int attempt = 0) {
    fixed_line<512> name;
    in_signal::append_file_name(name, pattern, attempt);
    return {name.data(), name.size()};
}

void name_file(report_target& target, std::string const& name) {
    name.copy(target.file, sizeof target.file - 1);
}

}  // namespace

TEST_CASE("times are those of the calendar, leap years and centuries included", "[report_target]") {
    CHECK(time_text(0) == "19700101T000000Z");
    CHECK(time_text(951782400) == "20000229T000000Z");
    CHECK(time_text(4107542399) == "21000228T235959Z");
    CHECK(time_text(4107542400) == "21000301T000000Z");
    for (std::uint64_t at = 0; at < 20'000'000'000; at += 86'400 * 11 + 12'347)
        if (time_text(at) != libc_time_text(static_cast<time_t>(at))) {
            INFO(at);
            CHECK(time_text(at) == libc_time_text(static_cast<time_t>(at)));
        }
}

TEST_CASE("pid and time are filled in, as often as they stand there, and nothing else", "[report_target]") {
    std::string const pid = std::to_string(::getpid());
    CHECK(file_name("crash-{pid}.txt") == "crash-" + pid + ".txt");
    CHECK(file_name("{pid}{pid}") == pid + pid);
    CHECK(file_name("{PID}{pi}$HOME%p") == "{PID}{pi}$HOME%p");
    CHECK(file_name("report", 3) == "report.3");
    std::string const before = libc_time_text(::time(nullptr));
    std::string const name = file_name("{time}");
    CHECK(name.size() == before.size());
    CHECK(before <= name);
    CHECK(name <= libc_time_text(::time(nullptr)));
}

TEST_CASE("a descriptor is the same until its number means something else", "[report_target]") {
    kept_descriptor none;
    CHECK_FALSE(none.is_same());
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    kept_descriptor kept;
    kept.keep(ends[1]);
    CHECK(kept.is_same());
    ::close(ends[1]);
    CHECK_FALSE(kept.is_same());
    int const other = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    REQUIRE(::dup2(other, ends[1]) == ends[1]);
    CHECK_FALSE(kept.is_same());
    for (int const fd : {other, ends[0], ends[1]}) ::close(fd);
}

TEST_CASE("a report without a file goes to the descriptor, which stays open", "[report_target]") {
    report_target target;
    int const fd = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    target.out.keep(fd);
    CHECK(in_signal::open_report(target) == fd);
    in_signal::close_report(target, fd);
    CHECK(target.out.is_same());
    ::close(fd);
    CHECK(in_signal::open_report(target) == -1);
    in_signal::close_report(target, -1);
}

TEST_CASE("a file is created anew each time, under a number if need be", "[report_target]") {
    test::scratch_directory place;
    report_target target;
    int const directory = ::open(place.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    target.directory.keep(directory);
    name_file(target, "report");
    for (int i = 0; i < 3; ++i) {
        int const fd = in_signal::open_report(target);
        REQUIRE(fd >= 0);
        CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
        in_signal::close_report(target, fd);
        CHECK(::fcntl(fd, F_GETFD) == -1);
    }
    CHECK(test::names_in(place.path()).size() == 3);
    CHECK(::access(place.file("report.2").c_str(), F_OK) == 0);
    ::close(directory);
}

TEST_CASE("a hundred names that are taken are enough: then the descriptor serves", "[report_target]") {
    test::scratch_directory place;
    report_target target;
    int const directory = ::open(place.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int const standard = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    target.directory.keep(directory);
    target.out.keep(standard);
    name_file(target, "report");
    for (int i = 0; i < 100; ++i) {
        int const fd = in_signal::open_report(target);
        REQUIRE(fd != standard);
        in_signal::close_report(target, fd);
    }
    CHECK(in_signal::open_report(target) == standard);
    ::close(directory);
    ::close(standard);
}
