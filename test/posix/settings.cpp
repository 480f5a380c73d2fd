// SPDX-License-Identifier: MIT
#include <tocsin/posix/settings.hpp>

#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "support/catch.hpp"

using namespace tocsin;
using posix::parse_settings;
using posix::settings;
using posix::settings_error;
using posix::settings_form;

namespace {

settings read(std::string_view text) {
    settings said;
    settings_error const wrong = parse_settings(text, said);
    INFO(text << ": " << (wrong ? wrong.what : ""));
    CHECK_FALSE(wrong);
    return said;
}

// What is wrong with a text: the word that the error points at, and the sentence.
struct complaint {
    std::string word;
    std::string sentence;
    std::size_t at = 0;
};

complaint complain(std::string_view text) {
    settings said;
    settings_error const wrong = parse_settings(text, said);
    if (!wrong) return {};
    return {std::string{text.substr(wrong.at, wrong.size)}, wrong.what, wrong.at};
}

std::string line_of(std::string_view text) {
    settings said;
    settings_error const wrong = parse_settings(text, said);
    in_signal::fixed_line<700> line;
    posix::append_settings_error(line, text, wrong);
    return {line.data(), line.size()};
}

}  // namespace

TEST_CASE("nothing, and blanks, turn nothing on and are no error", "[settings]") {
    for (char const* const text : {"", " ", "\t \n"}) {
        settings const said = read(text);
        CHECK_FALSE(said.reports());
        CHECK_FALSE(said.doctor);
    }
    settings said;
    CHECK_FALSE(parse_settings(nullptr, said));
}

TEST_CASE("each word is read", "[settings]") {
    settings const all = read(
        "crash,quit,on=USR1, on=rtmin+3 ,watchdog=30s,exit,to=/var/tmp/crash-{pid}-{time}.txt,"
        "format=json,threads=this,signals=segv+SIGBUS,doctor,registers=off");
    CHECK(all.crash);
    CHECK(all.doctor);
    CHECK(all.exiting);
    CHECK(all.repeated);
    CHECK(all.this_thread_only);
    CHECK_FALSE(all.with_registers);
    CHECK(all.form == settings_form::json);
    CHECK(all.faults == (std::uint64_t{1} << SIGSEGV | std::uint64_t{1} << SIGBUS));
    CHECK(all.microseconds == 30'000'000);
    REQUIRE(all.signal_count == 3);
    CHECK(all.signals[0] == SIGQUIT);
    CHECK(all.signals[1] == SIGUSR1);
    CHECK(all.signals[2] == SIGRTMIN + 3);
    CHECK(std::string{all.path} == "/var/tmp/crash-{pid}-{time}.txt");
}

TEST_CASE("what is not said is as dump_threads has it", "[settings]") {
    settings const said = read("crash");
    CHECK(said.form == settings_form::text);
    CHECK(said.fd == 2);
    CHECK(said.path[0] == '\0');
    CHECK(said.faults == 0);
    CHECK(said.with_registers);
    CHECK_FALSE(said.this_thread_only);
    CHECK_FALSE(said.doctor);
    CHECK(said.microseconds == 0);
    CHECK(said.signal_count == 0);
}

TEST_CASE("a time has its unit", "[settings]") {
    CHECK(read("later=500ms").microseconds == 500'000);
    CHECK(read("later=1s").microseconds == 1'000'000);
    CHECK(read("watchdog=5min").microseconds == 300'000'000);
    CHECK(read("watchdog=1h").microseconds == 3'600'000'000);
    CHECK_FALSE(read("later=1ms").repeated);
    CHECK(read("watchdog=100ms").repeated);
    for (char const* const text : {"watchdog=30", "watchdog=", "watchdog=s", "watchdog=-1s", "watchdog=1.5s",
                                   "watchdog=30 s", "watchdog=30S", "watchdog=1s1s", "watchdog=+1s",
                                   "watchdog=1d", "watchdog=9999999999999999999s", "later=30"}) {
        INFO(text);
        CHECK(complain(text).sentence.find("takes a whole number and its unit") != std::string::npos);
        CHECK(complain(text).word == text);
    }
    CHECK(complain("later=0s").sentence == "no time at all");
    CHECK(complain("watchdog=99ms").sentence == "less than 100ms");
    CHECK(complain("watchdog=999999999999999999h").sentence == "too long a time");
    CHECK(complain("watchdog").sentence.find("a time is missing") == 0);
}

TEST_CASE("a report goes to a file, to a descriptor or to standard error", "[settings]") {
    CHECK(read("crash,to=stderr").fd == 2);
    CHECK(read("crash,to=fd:17").fd == 17);
    CHECK(read("crash,to=fd:17").path[0] == '\0');
    CHECK(std::string{read("crash,to=x").path} == "x");
    CHECK(std::string{read("crash,to=a b=c/\xff{time}").path} == "a b=c/\xff{time}");
    for (char const* const text :
         {"fd:", "fd:x", "fd:1x", "fd:-1", "fd:2147483648", "fd:99999999999999999999"})
        CHECK(complain(std::string{"crash,to="} + text).sentence.find("takes a descriptor's number") == 0);
    CHECK(complain("crash,to=").sentence.find("takes stderr") == 0);
    CHECK(complain("crash,to=/tmp/").sentence.find("takes stderr") == 0);
    CHECK(complain("crash,to={host}").sentence == "only {pid} and {time} are filled in");
    CHECK(complain("crash,to=a{").sentence == "only {pid} and {time} are filled in");
    CHECK(complain("crash,to={pid}/x").sentence.find("in the name of the file only") != std::string::npos);
    CHECK(read("crash,to=" + std::string(200, 'x')).path[199] == 'x');
    CHECK(complain("crash,to=" + std::string(201, 'x')).sentence == "more than 200 characters of file name");
    CHECK(complain("crash,to=/" + std::string(1100, 'x') + "/x").sentence ==
          "more than 1023 characters of path");
    CHECK(complain(std::string_view{"crash,to=a\0b", 12}).sentence == "a zero byte in a path");
}

TEST_CASE("signals that cannot be reported on are refused", "[settings]") {
    CHECK(read("on=15").signals[0] == SIGTERM);
    CHECK(read("on=SIGRTMAX").signals[0] == SIGRTMAX);
    CHECK(complain("on=KILL").sentence == "cannot be caught");
    CHECK(complain("on=STOP").sentence == "cannot be caught");
    CHECK(complain("on=SEGV").sentence.find("a fault; say crash") == 0);
    for (char const* const text : {"on=", "on=NONE", "on=0", "on=32", "on=65", "on=SIGSIG", "on=usr1x",
                                   "on=RTMIN+99", "on=AVERYLONGNAMEOFASIGNALTHATISNONE"})
        CHECK(complain(text).sentence.find("no such signal") == 0);
    CHECK(complain("crash,signals=SEGV+TERM").word == "signals=SEGV+TERM");
    CHECK(complain("crash,signals=SEGV+").word == "signals=SEGV+");
    CHECK(complain("crash,signals=").word == "signals=");
}

TEST_CASE("words that contradict each other are refused", "[settings]") {
    CHECK(complain("quit,crash,crash").at == 11);
    CHECK(complain("quit,crash,crash").sentence == "said twice");
    CHECK(complain("quit,on=QUIT").word == "on=QUIT");
    CHECK(complain("to=a,crash,to=b").at == 11);
    CHECK(complain("crash,threads=all,threads=all").word == "threads=all");
    CHECK(complain("crash,format=json,format=text").word == "format=text");
    CHECK(complain("crash,registers=on,registers=off").word == "registers=off");
    CHECK(complain("crash,signals=SEGV,signals=BUS").word == "signals=BUS");
    CHECK(complain("watchdog=1s,watchdog=1s").sentence == "said twice");
    CHECK(complain("watchdog=1s,later=1s").sentence.find("contradict each other") != std::string::npos);
    CHECK(complain("later=1s,watchdog=1s").sentence.find("contradict each other") != std::string::npos);
    CHECK(complain("quit,signals=SEGV").sentence.find("narrows crash") == 0);
    CHECK(complain("crash,exit").sentence.find("needs watchdog=TIME") == 0);
    for (char const* const word : {"to=x", "to=stderr", "format=json", "threads=this", "registers=off"}) {
        CHECK(complain(word).sentence.find("nothing reports") == 0);
        CHECK(complain(std::string{"doctor,"} + word).word == word);
    }
    CHECK(complain("on=1,on=2,on=10,on=12,on=13,on=14,on=15,on=16,on=17").sentence == "more than 8 signals");
}

TEST_CASE("a word that is wrong is pointed at", "[settings]") {
    CHECK(complain("crash, crush ,quit").word == "crush");
    CHECK(complain("crash, crush ,quit").at == 7);
    CHECK(complain("crash,crash=1").word == "crash=1");
    CHECK(complain("Crash").word == "Crash");
    CHECK(complain("=").word == "=");
    CHECK(complain("crash;quit").word == "crash;quit");
    for (char const* const text : {",", "crash,", ",crash", "crash,,quit", "crash, ,quit"})
        CHECK(complain(text).sentence.find("a word is missing") == 0);
    CHECK(complain("crash,threads=some").sentence == "takes all or this");
    CHECK(complain("crash,registers=no").sentence == "takes on or off");
    CHECK(complain("crash,format=xml").sentence.find("takes text") == 0);
}

TEST_CASE("the line that says so is one line of printable characters, and not a long one", "[settings]") {
    CHECK(line_of("crash,crush")
              .find("TOCSIN is not followed: at 7 \"crush\": no such word; there are crash") == 0);
    CHECK(line_of("crash,").find("TOCSIN is not followed: at 7 a word is missing") == 0);
    std::string hostile = "crash,\x1b[2J\r\ntocsin: all is well\xff\"";
    std::string line = line_of(hostile);
    for (char const c : line) CHECK(in_signal::printable(c));
    CHECK(line.find("\\x1b[2J\\x0d\\x0atocsin") != std::string::npos);
    CHECK(line_of("crash," + std::string(4000, 'x')).size() < 400);
    CHECK(line_of(std::string(5000, 'x')) == "TOCSIN is not followed: more than 4096 characters");
}

TEST_CASE("no text reads or writes outside, whatever it holds", "[settings]") {
    std::vector<std::string> pieces = {std::string(1, '\0'), std::string(300, 'y')};
    for (char const* const each :
         {"crash", "quit", "on=", "USR1", "=", ",", "+", "to=", "{pid}", "{", "watchdog=", "30s",
          "99999999999999999", "h", "signals=", "segv", "fd:", " ", "\xff", "/", "format=", "json", "RTMIN+"})
        pieces.emplace_back(each);
    std::mt19937 random{4711};
    for (int round = 0; round < 20'000; ++round) {
        std::string text;
        for (auto count = random() % 12; count != 0; --count) text += pieces[random() % pieces.size()];
        std::vector<char> const exact(text.begin(), text.end());  // a sanitizer sees a step behind the end
        settings said;
        settings_error const wrong = parse_settings(std::string_view{exact.data(), exact.size()}, said);
        if (wrong && (wrong.at > text.size() || wrong.size > text.size() - wrong.at)) FAIL(text);
        if (!wrong && !said.reports() && !said.doctor && posix::detail::without_blanks(text).size != 0)
            FAIL(text);
    }
}
