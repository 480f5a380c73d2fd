// SPDX-License-Identifier: MIT
// Measuring side by side: contenders take turns within one run, and what counts is the median of each round's ratio to
// the floor of the same round.
//
// Runs on any ordinary thread. A machine changes its pace from second to second; a ratio within one round has little
// of that. Absolute figures are medians, too, and are for orientation. Results are JSON lines on standard output, one a
// contender; bench/run.py makes the table of them.
#pragma once

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace tocsin::bench {

inline double nanoseconds(clockid_t clock) {
    timespec now{};
    ::clock_gettime(clock, &now);
    return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}
// For what one thread does alone: what else the machine does is not in it.
inline double thread_clock() { return nanoseconds(CLOCK_THREAD_CPUTIME_ID); }
inline double wall_clock() { return nanoseconds(CLOCK_MONOTONIC); }

// The compiler takes the value for used.
template <class T>
inline void use(T const& value) {
    __asm__ volatile("" : : "g"(&value) : "memory");
}

// Nanoseconds of thread time of one call of `f`, of so many.
template <class F>
double each_call(int times, F&& f) {
    double const start = thread_clock();
    for (int i = 0; i < times; ++i) {
        f();
        __asm__ volatile("" : : : "memory");
    }
    return (thread_clock() - start) / times;
}

// What a contender answers that has not done its work. Zero would be the best of all figures.
inline constexpr double no_figure = std::numeric_limits<double>::quiet_NaN();
inline bool is_figure(double value) { return value == value; }

// No figure, if one of them is none.
inline double median(std::vector<double> of) {
    if (of.empty() || !std::all_of(of.begin(), of.end(), is_figure)) return no_figure;
    std::sort(of.begin(), of.end());
    std::size_t const half = of.size() / 2;
    return of.size() % 2 != 0 ? of[half] : (of[half - 1] + of[half]) / 2;
}

// What a contender is to its row. A part is no contender of its own: a price that is named. `same` keeps the promises
// that we keep and is written by hand: what it costs more than the floor is their price.
enum class role { floor, peer, ours, part, same };

// What is promised: at most so many times the floor, or at most so much.
struct target {
    double ratio = 0;
    double value = 0;
    static target times(double most) { return {most, 0}; }
    static target at_most(double most) { return {0, most}; }
};

// What is promised of a curve: the same cost everywhere, a straight line at most, or nothing. A line `each` is one
// whose points are the cost of one of many.
enum class growth { any, constant, linear, each };

class json_line {
  public:
    json_line& text(char const* key, std::string const& value) {
        begin(key);
        body_ += '"';
        for (char const c : value) {
            if (c == '"' || c == '\\') body_ += '\\';
            body_ += c;
        }
        body_ += '"';
        return *this;
    }
    json_line& number(char const* key, double value) {
        char digits[40];
        std::snprintf(digits, sizeof digits, "%.6g", value);
        begin(key);
        body_ += digits;
        return *this;
    }
    void print() const {
        std::printf("{%s}\n", body_.c_str());
        std::fflush(stdout);
    }

  private:
    void begin(char const* key) {
        if (!body_.empty()) body_ += ", ";
        body_ += '"';
        body_ += key;
        body_ += "\": ";
    }
    std::string body_;
};

struct result {
    std::string question;
    std::string row;
    std::string who;
    role as = role::ours;
    double value = 0;
    std::string unit = "ns";
    double ratio = 0;  // 0: there is no floor
    target promised{};
    std::string note{};
    double to_same = 0;  // 0: nobody else keeps the same promises

    void print() const {
        static constexpr char const* names[] = {"floor", "peer", "tocsin", "part", "same"};
        json_line line;
        line.text("question", question).text("row", row).text("who", who);
        line.text("role", names[static_cast<int>(as)]).text("unit", unit);
        if (is_figure(value)) line.number("value", value);
        if (is_figure(ratio) && ratio != 0) line.number("ratio", ratio);
        if (is_figure(to_same) && to_same != 0) line.number("to_same", to_same);
        if (promised.ratio != 0) line.number("target_ratio", promised.ratio);
        if (promised.value != 0) line.number("target_value", promised.value);
        if (!note.empty()) line.text("note", note);
        line.print();
    }
};

// A peer that is not installed.
inline void print_absent(std::string const& question, std::string const& row, std::string const& who) {
    json_line{}.text("question", question).text("row", row).text("who", who).text("role", "absent").print();
}

// A point of a curve: how a cost grows.
inline void print_point(std::string const& question, std::string const& curve, double x, double y,
                        std::string const& unit, growth promised, std::string const& who = "tocsin") {
    static constexpr char const* names[] = {"", "constant", "linear", "each"};
    if (!is_figure(y)) return print_absent("growth", question + ": " + curve, "a point of it, which failed");
    json_line line;
    line.text("question", question).text("curve", curve).text("who", who).text("role", "point");
    line.number("x", x).number("value", y).text("unit", unit);
    if (promised != growth::any) line.text("growth", names[static_cast<int>(promised)]);
    line.print();
}

// The contenders of one question, in rows; each row has one floor, which may be that of another.
class contest {
  public:
    explicit contest(std::string question, int rounds) : question_{std::move(question)}, rounds_{rounds} {}

    contest& row(std::string name, std::string unit = "ns") {
        row_ = std::move(name);
        unit_ = std::move(unit);
        floor_ = all_.size();
        if (rows_.empty() || rows_.back().name != row_) rows_.push_back({row_, {}, {}});
        return *this;
    }
    contest& floor(std::string who, std::function<double()> run) {
        floor_ = all_.size();
        return add(std::move(who), role::floor, std::move(run), {});
    }
    // The contender `who` of an earlier row serves as this row's floor.
    contest& floor_of(std::string const& who) {
        for (std::size_t i = 0; i < all_.size(); ++i)
            if (all_[i].shown.who == who && all_[i].shown.as == role::floor) floor_ = i;
        rows_.back().borrowed.push_back(floor_);
        return *this;
    }
    contest& peer(std::string who, std::function<double()> run) {
        return add(std::move(who), role::peer, std::move(run), {});
    }
    contest& part(std::string who, std::function<double()> run) {
        return add(std::move(who), role::part, std::move(run), {});
    }
    contest& same(std::string who, std::function<double()> run) {
        return add(std::move(who), role::same, std::move(run), {});
    }
    contest& ours(std::string who, target promised, std::function<double()> run, std::string note = {}) {
        add(std::move(who), role::ours, std::move(run), promised);
        all_.back().shown.note = std::move(note);
        return *this;
    }
    contest& absent(std::string const& who) {
        rows_.back().absent.push_back(who);
        return *this;
    }
    // The contender that was added last is a point of a curve.
    contest& curve(std::string name, double x, growth promised) {
        all_.back().curve = std::move(name);
        all_.back().x = x;
        all_.back().grows = promised;
        return *this;
    }

    void run() {
        std::size_t const count = all_.size();
        for (std::size_t round = 0; round < static_cast<std::size_t>(rounds_); ++round) {
            // Each round begins with another contender, and every other one goes backwards: nobody always follows the
            // same neighbour, and what a contender leaves behind in the caches is not always somebody's price.
            for (std::size_t i = 0; i < count; ++i) {
                contender& each = all_[(round + (round % 2 == 0 ? i : count - i)) % count];
                each.costs.push_back(each.run());
            }
        }
        for (shown_row const& each : rows_) print(each);
    }

    // Of a contender, after the run.
    double median_of(std::string const& who) const {
        for (contender const& each : all_)
            if (each.shown.who == who) return median(each.costs);
        return no_figure;
    }

  private:
    struct contender {
        result shown;
        std::size_t floor;
        std::function<double()> run;
        std::vector<double> costs{};
        std::string curve{};
        double x = 0;
        growth grows = growth::any;
    };
    struct shown_row {
        std::string name;
        std::vector<std::size_t> borrowed;
        std::vector<std::string> absent;
    };

    contest& add(std::string who, role as, std::function<double()> run, target promised) {
        all_.push_back({{question_, row_, std::move(who), as, 0, unit_, 0, promised}, floor_, std::move(run)});
        return *this;
    }

    void print(shown_row const& row) const {
        for (std::size_t const floor : row.borrowed) {
            result shown = all_[floor].shown;
            shown.row = row.name;
            shown.value = median(all_[floor].costs);
            shown.ratio = 1;
            shown.print();
        }
        for (contender const& each : all_)
            if (each.shown.row == row.name) print(each);
        for (std::string const& who : row.absent) print_absent(question_, row.name, who);
    }

    void print(contender const& of) const {
        if (!of.curve.empty()) return print_as_point(of);
        result shown = of.shown;
        shown.value = median(of.costs);
        bool const has_floor = all_[of.floor].shown.as == role::floor;
        shown.ratio = has_floor ? ratio(of, all_[of.floor]) : 0;
        if (shown.as == role::ours) shown.to_same = ratio_to_same(of);
        shown.print();
    }

    double ratio_to_same(contender const& of) const {
        for (contender const& each : all_)
            if (each.shown.as == role::same && each.shown.row == of.shown.row) return ratio(of, each);
        return 0;
    }

    // As a multiple of the first point, so that the machine's pace is not in the curve.
    void print_as_point(contender const& of) const {
        contender const& first = *std::find_if(all_.begin(), all_.end(),
                                               [&of](contender const& each) { return each.curve == of.curve; });
        print_point(question_, of.curve, of.x, median(first.costs) * ratio(of, first), of.shown.unit, of.grows);
    }

    static double ratio(contender const& of, contender const& to) {
        std::vector<double> ratios;
        for (std::size_t i = 0; i < to.costs.size(); ++i)
            if (to.costs[i] > 0) ratios.push_back(of.costs[i] / to.costs[i]);
        return median(std::move(ratios));
    }

    std::string question_;
    std::string row_;
    std::string unit_ = "ns";
    int rounds_;
    std::size_t floor_ = 0;
    std::vector<contender> all_;
    std::vector<shown_row> rows_;
};

// Shorter, for a look at the method: BENCH_QUICK=1.
inline bool quick() { return std::getenv("BENCH_QUICK") != nullptr; }
inline int rounds(int usual) { return quick() ? std::max(3, usual / 10) : usual; }

}  // namespace tocsin::bench
