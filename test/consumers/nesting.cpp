// SPDX-License-Identifier: MIT
// Copies of the library in one process: the same table, guards that nest and chain across copies, each delivery once.
//
//     nesting RECORDS ORDER [PLUGIN…]
//
// RECORDS is the limit that the table must have. ORDER is a letter for each copy, in the order in which they install:
// `e` for the executable's, `o` for the other one that is linked (if LINKED is defined), `0`, `1` for plugins.
#include "check.hpp"

#include <errno.h>

#include <string>
#include <vector>

#include <tocsin/error.hpp>

using namespace consumers;

extern "C" copy const* main_copy();
#if defined(LINKED)
extern "C" copy const* linked_copy();
#endif

namespace {

journal events;

void foreign(int) { events.note(0); }

copy const* copy_for(char letter, std::vector<char*> const& plugins) {
    if (letter == 'e') return main_copy();
#if defined(LINKED)
    if (letter == 'o') return linked_copy();
#endif
    auto const number = static_cast<unsigned>(letter - '0');
    if (number >= plugins.size()) std::exit(EXIT_FAILURE);
    return find_copy(load(plugins[number]));
}

struct sigaction install_foreign(int signal) {
    struct sigaction action {};
    action.sa_handler = foreign;
    action.sa_flags = SA_RESTART | SA_NODEFER;
    ::sigemptyset(&action.sa_mask);
    ::sigaddset(&action.sa_mask, SIGWINCH);
    ::sigaction(signal, &action, nullptr);
    ::sigaction(signal, nullptr, &action);
    return action;
}

bool is_installed(int signal, struct sigaction const& wanted) {
    struct sigaction found {};
    ::sigaction(signal, nullptr, &found);
    return found.sa_handler == wanted.sa_handler && found.sa_flags == wanted.sa_flags &&
           ::sigismember(&found.sa_mask, SIGWINCH) == 1 && ::sigismember(&found.sa_mask, SIGTERM) == 0;
}

// Raises the signal and waits for as many entries as there are numbers to come.
bool arrives_as(int signal, std::string const& wanted) {
    events.clear();
    ::raise(signal);
    auto const size = static_cast<int>((wanted.size() + 1) / 2);
    return eventually([&] { return events.size() >= size; }) && reads(events, wanted.c_str());
}

// "3 2 1 0" for three guards above the foreign handler; without number `gone`, if it is not 0.
std::string newest_first(int count, int gone = 0) {
    std::string text;
    for (int i = count; i > 0; --i)
        if (i != gone) text += std::to_string(i) + ' ';
    return text + '0';
}

void check_handlers(std::vector<copy const*> const& copies) {
    auto const before = install_foreign(SIGUSR1);
    int const count = static_cast<int>(copies.size());
    std::vector<void*> guards;
    for (copy const* each : copies)
        guards.push_back(each->open_handler(&events, static_cast<int>(guards.size()) + 1));
    EXPECT(arrives_as(SIGUSR1, newest_first(count)));
    events.clear();
    EXPECT(main_copy()->simulate(SIGUSR1) == 1);  // also if this copy has installed nothing
    EXPECT(reads(events, newest_first(count).c_str()));
    for (copy const* each : copies) {
        EXPECT(each->table() == copies[0]->table());
        events.clear();
        EXPECT(each->simulate(SIGUSR1) == 1);
        EXPECT(reads(events, newest_first(count).c_str()));
    }
    copies[0]->close_handler(guards[0]);  // the oldest first: what lies above it stays in place
    EXPECT(arrives_as(SIGUSR1, newest_first(count, 1)));
    guards[0] = copies[0]->open_handler(&events, 1);
    for (int i = count - 1; i > 0; --i) {
        copies[static_cast<unsigned>(i)]->close_handler(guards[static_cast<unsigned>(i)]);
        EXPECT(arrives_as(SIGUSR1, i == 1 ? "1 0" : "1 " + newest_first(i, 1)));
    }
    copies[0]->close_handler(guards[0]);
    EXPECT(is_installed(SIGUSR1, before));
    EXPECT(arrives_as(SIGUSR1, "0"));
}

// Chaining after a deferred reaction happens in the handler, so the foreign handler comes first or in between.
void check_calls(std::vector<copy const*> const& copies) {
    auto const before = install_foreign(SIGUSR2);
    std::vector<void*> guards;
    for (copy const* each : copies)
        guards.push_back(each->open_call(&events, static_cast<int>(guards.size()) + 1));
    int const wanted = static_cast<int>(copies.size()) + 1;
    events.clear();
    ::raise(SIGUSR2);
    EXPECT(eventually([&] { return events.size() >= wanted; }));
    for (copy const* each : copies) EXPECT(::pthread_equal(each->dispatcher(), copies[0]->dispatcher()) != 0);
    EXPECT(::pthread_equal(copies[0]->dispatcher(), ::pthread_self()) == 0);
    for (unsigned i = 0; i < copies.size(); ++i) copies[i]->close_call(guards[i]);
    EXPECT(events.size() == wanted);
    EXPECT(is_installed(SIGUSR2, before));
}

// An error is one type in the whole process, also where everything else is hidden.
void check_errors(std::vector<copy const*> const& copies) {
#if !defined(OTHER_EXCEPTIONS)
    for (copy const* each : copies) {
        int code = 0;
        try {
            each->refuse();
        } catch (tocsin::error const& why) {
            code = why.code();
        } catch (...) {
            code = -1;
        }
        EXPECT(code == EBADF);
    }
#else
    static_cast<void>(copies);  // of two standard libraries in memory: neither knows what the other throws
#endif
}

}  // namespace

int main(int count, char** words) {
    end_within(60);
    if (count < 3) return EXIT_FAILURE;
    auto const records = static_cast<unsigned>(std::atoi(words[1]));
    std::vector<char*> const plugins(words + 3, words + count);
    std::vector<copy const*> copies;
    for (char const* letter = words[2]; *letter != '\0'; ++letter) {
        copies.push_back(copy_for(*letter, plugins));
        copies.back()->close_handler(
            copies.back()->open_handler(&events, 0));  // the first install, in this order
    }
    for (copy const* each : copies) EXPECT(each->records() == records);
    check_handlers(copies);
    check_calls(copies);
    check_errors(copies);
    return verdict();
}
