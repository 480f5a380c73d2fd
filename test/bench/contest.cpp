// SPDX-License-Identifier: MIT
// Contenders whose costs are known, for check_table.py: results on standard output, who ran when on standard error.
#include "support/measure.hpp"

using namespace tocsin::bench;

namespace {

// The machine gets slower from round to round.
std::function<double()> contender(char name, double cost, int fails_in = -1) {
    return [=, turn = 0]() mutable {
        std::fputc(name, stderr);
        double const pace = 1 << turn;
        return turn++ == fails_in ? no_figure : cost * pace;
    };
}

}  // namespace

int main() {
    contest all{"question", 5};
    all.row("first").absent("not here").floor("floor", contender('f', 10));
    all.peer("peer", contender('p', 15)).ours("ours", target::times(1.1), contender('o', 11), "a \"note\"");
    all.ours("broken", target::times(1.1), contender('b', 1, 3));
    all.same("the same by hand", contender('s', 10));
    all.row("second").floor_of("floor").ours("also ours", target::at_most(50), contender('a', 5));
    all.row("third").ours("without a floor", {}, contender('w', 7));
    all.row("curve").part("curve", contender('1', 10)).curve("many", 1, growth::linear);
    all.row("curve").part("curve", contender('2', 30)).curve("many", 10, growth::linear);
    all.run();
    std::fprintf(stderr, "\n%g %g\n", median({4, 1, 3, 2}), median({9, 1, 5}));
}
