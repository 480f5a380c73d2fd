// SPDX-License-Identifier: MIT
// From the fault to the end: how long does a crash take that is reported, to the first byte and altogether, against one
// that is not? Victims are processes of their own; this one gives them a pipe as standard error and reads it.
//
// Words: NAME=PROGRAM for each victim, NAME= for one that is not installed; `growth:CURVE:X=PROGRAM[:FOLDER]` for a
// point of a curve, measured with the victim's report.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <map>

#include "support/measure.hpp"
#include "victims/victim.hpp"

using namespace tocsin::bench;

namespace {

struct death {
    double first_byte = no_figure;  // microseconds from the fault
    double whole = no_figure;
    double peak = 0;        // KiB of resident memory
    double added = 0;       // KiB when the handler was installed
    double bytes = 0;
};

int shared_file;
crash_page* shared;

pid_t start(std::vector<std::string> const& words, int error) {
    pid_t const pid = ::fork();
    if (pid != 0) return pid;
    std::vector<char*> argv;
    for (std::string const& each : words) argv.push_back(const_cast<char*>(each.c_str()));
    argv.push_back(nullptr);
    ::dup2(shared_file, 3);
    ::dup2(error, 2);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
}

death run(std::vector<std::string> const& words) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return {};
    std::memset(shared, 0, sizeof *shared);
    pid_t const pid = start(words, ends[1]);
    ::close(ends[1]);
    death found;
    char text[65536];
    double first = 0;
    for (ssize_t got; (got = ::read(ends[0], text, sizeof text)) > 0; found.bytes += static_cast<double>(got))
        if (first == 0) first = wall_clock();
    int status = 0;
    rusage used{};
    ::wait4(pid, &status, 0, &used);
    double const end = wall_clock();
    ::close(ends[0]);
    if (WIFSIGNALED(status) && shared->fault != 0) {
        found.whole = (end - shared->fault) / 1000;
        if (first != 0) found.first_byte = (first - shared->fault) / 1000;
    } else {
        std::fprintf(stderr, "%s did not die of its fault: %x\n", words[0].c_str(), status);
    }
    found.peak = static_cast<double>(used.ru_maxrss);
    found.added = shared->rss_after - shared->rss_before;
    return found;
}

constexpr char python_script[] =
    "import struct, time, os, faulthandler, sys, resource\n"
    "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
    "if sys.argv[1] == 'on': faulthandler.enable()\n"
    "else: faulthandler.disable()\n"
    "def down(n):\n"
    "    if n: return down(n - 1)\n"
    "    os.pwrite(3, struct.pack('d', float(time.monotonic_ns())), 0)\n"
    "    faulthandler._sigsegv()\n"
    "down(10)\n";

std::map<std::string, std::string> programs;

// One victim runs once a round, and tells about its first byte and its end.
class measured {
  public:
    measured(std::string const& name, std::string const& where) : words_{programs[name], where} {}
    measured(std::vector<std::string> words) : words_{std::move(words)} {}

    double whole() {
        last_ = run(words_);
        peaks_.push_back(last_.peak);
        added_.push_back(last_.added);
        return last_.whole;
    }
    double first() {
        return run(words_).first_byte;
    }
    double peak() const { return median(peaks_); }
    double added() const { return median(added_); }

  private:
    std::vector<std::string> words_;
    death last_;
    std::vector<double> peaks_;
    std::vector<double> added_;
};

bool is_there(std::string const& name) {
    auto const at = programs.find(name);
    return at != programs.end() && !at->second.empty();
}

constexpr char const* peers[] = {"abseil", "glog", "boost", "backward"};
constexpr char const* never_packaged[] = {"cpptrace", "folly"};

std::map<std::string, measured> all;
measured& victim(std::string const& name, std::string const& where) {
    std::string const key = name + " " + where;
    return all.try_emplace(key, name, where).first->second;
}

void times_of(std::string const& where) {
    contest main{"crash", rounds(15)};
    std::string const row = "fault to exit, on " + where;
    auto const whole = [&where](std::string const& name) {
        return [&one = victim(name, where)] { return one.whole(); };
    };
    main.row(row + ", with names", "us").floor("bare death", whole("bare"));
    main.part("raw dumper by hand", whole("by_hand"));
    for (char const* const each : peers) {
        if (is_there(each))
            main.peer(each, whole(each));
        else
            main.absent(each);
    }
    for (char const* const each : never_packaged) main.absent(each);
    main.ours("on_crash(dump_threads)", target::times(12), whole("tocsin"));
    main.row(row + ", raw first write", "us").floor_of("bare death");
    main.ours("on_crash(dump_threads), to its first byte", target::times(2),
              [&one = victim("tocsin", where)] { return one.first(); });
    if (where == "main") {
        main.row(row + ", with lines", "us").floor_of("bare death");
        if (is_there("lines")) {
            main.part("bare death of who holds libbacktrace's memory", whole("reader"));
            main.ours("dump_threads.with(lines)", target::times(17), whole("lines"));
        } else {
            main.absent("libbacktrace");
        }
        main.row("fault to exit, 10,000 frames", "us").floor("bare death", [&one = victim("bare", "deep")] {
            return one.whole();
        });
        main.ours("on_crash(dump_threads)", target::times(12), [&one = victim("tocsin", "deep")] {
            return one.whole();
        });
    }
    main.run();
}

void python_times() {
    auto const words = [](char const* on) { return std::vector<std::string>{"python3", "-c", python_script, on}; };
    measured without{words("off")};
    measured with{words("on")};
    if (std::system("command -v python3 >/dev/null 2>&1") != 0)
        return print_absent("crash", "fault to exit, on main, with names", "faulthandler");
    contest all_python{"crash", rounds(9)};
    all_python.row("faulthandler, to a bare python3", "us").floor("bare python3", [&] { return without.whole(); });
    all_python.peer("faulthandler", [&] { return with.whole(); });
    all_python.run();
}

void memory() {
    double const bare = victim("bare", "main").peak();
    auto const print = [](char const* row, std::string who, role as, double value, target promised) {
        result shown{"crash", row, std::move(who), as, value, "KiB", 0, promised};
        shown.print();
    };
    for (char const* const each : peers)
        if (is_there(each)) {
            print("peak memory added by a crash", each, role::peer, victim(each, "main").peak() - bare, {});
            print("resident memory added by install", each, role::peer, victim(each, "main").added(), {});
        }
    print("peak memory added by a crash", "on_crash(dump_threads)", role::ours, victim("tocsin", "main").peak() - bare,
          target::at_most(6 * 1024));
    print("resident memory added by install", "on_crash(dump_threads)", role::ours, victim("tocsin", "main").added(),
          target::at_most(6 * 1024));
    if (is_there("lines")) {
        print("peak memory added by a crash, with lines", "libbacktrace opened, and no report", role::part,
              victim("reader", "main").peak() - bare, {});
        print("peak memory added by a crash, with lines", "dump_threads.with(lines)", role::ours,
              victim("lines", "main").peak() - bare, {});
    }
}

void curves(std::vector<std::string> const& points) {
    struct point {
        std::string curve;
        double x;
        measured victim;
    };
    std::vector<point> measurements;
    for (std::string const& each : points) {
        std::size_t const colon = each.find(':', 7);
        std::size_t const equals = each.find('=');
        std::size_t const folder = each.find(':', equals);
        std::vector<std::string> words{each.substr(equals + 1, folder - equals - 1), "main"};
        if (folder != std::string::npos) words.push_back(each.substr(folder + 1));
        double const x = std::strtod(each.c_str() + colon + 1, nullptr);
        measurements.push_back({each.substr(7, colon - 7), x, measured{words}});
    }
    if (measurements.empty()) return;
    contest all_points{"crash", rounds(7)};
    for (point& each : measurements)
        all_points.row(each.curve, "us")
            .part(each.curve, [&each] { return each.victim.whole(); })
            .curve(each.curve, each.x, growth::linear);
    all_points.run();
}

}  // namespace

int main(int words, char** word) {
    std::vector<std::string> points;
    for (int i = 1; i < words; ++i) {
        std::string const each = word[i];
        if (each.rfind("growth:", 0) == 0)
            points.push_back(each);
        else
            programs[each.substr(0, each.find('='))] = each.substr(each.find('=') + 1);
    }
    // out of the way of the number that the victims know it by
    shared_file = ::fcntl(::memfd_create("crash", MFD_CLOEXEC), F_DUPFD_CLOEXEC, 10);
    if (::ftruncate(shared_file, 4096) != 0) return 1;
    shared = static_cast<crash_page*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, shared_file, 0));
    times_of("main");
    times_of("thread");
    python_times();
    memory();
    curves(points);
}
