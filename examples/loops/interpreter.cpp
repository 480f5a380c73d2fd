// SPDX-License-Identifier: MIT
// A guard beside an embedded CPython: Ctrl-C becomes a KeyboardInterrupt, and all other signals stay the program's.
//
// The guard lives inside the interpreter's life: built after it, it finds Python's handler of SIGINT and gives it back;
// a finalised interpreter leaves the default behind, and must not be called by a handler any more.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstdio>

#include <tocsin/query.hpp>
#include <tocsin/tocsin.hpp>

using namespace tocsin;

namespace {

char const script[] = R"(
import os, time

def until_interrupted(what, call):
    try:
        print(what, flush=True)
        call()
    except KeyboardInterrupt:
        print("KeyboardInterrupt in the", what, flush=True)

def compute():
    while True:
        pass

until_interrupted("computation", compute)
until_interrupted("read", lambda: os.read(0, 1))
until_interrupted("sleep", lambda: time.sleep(600))
)";

char const thief[] = R"(
import signal
signal.signal(signal.SIGUSR1, signal.SIG_DFL)
)";

void say(char const* text) {
    std::puts(text);
    std::fflush(stdout);
}

bool run(char const* text) { return ::PyRun_SimpleString(text) == 0; }

template <class Guard>
void count(Guard& signals) {
    unsigned long seen = 0;
    for (delivery const& d : signals.take()) seen += d.merged();
    std::printf("SIGUSR1 %lu\n", seen);
    std::fflush(stdout);
}

int use_interpreter() {
    // The one function of the interpreter that a handler may call (C-API, PyErr_SetInterruptEx). It does nothing unless
    // Python has a handler of its own. A read that was restarted would not look at it: interrupting().
    auto const interrupt = in_handler([](delivery const& d) noexcept { ::PyErr_SetInterruptEx(d.signal()); });
    guard signals{
        on<SIGINT>(interrupt).interrupting(),
        on<SIGUSR1>(wake),
    };
    if (!run(script)) return 1;
    count(signals);
    if (!run(thief)) return 1;
    for (int const lost : signals.check_ownership()) std::printf("Python took %s\n", name(lost).c_str());
    signals.reinstall();
    ::raise(SIGUSR1);
    count(signals);
    return 0;
}

}  // namespace

int main() {
    ::Py_InitializeEx(1);
    int const code = use_interpreter();
    bool const given_back = query<SIGINT>().owner() == disposition_owner::foreign;
    say(given_back ? "SIGINT is Python's again" : "SIGINT IS LOST");
    bool const finished = ::Py_FinalizeEx() == 0;
    bool const back = query<SIGINT>().owner() == disposition_owner::by_default &&
                      query<SIGUSR1>().owner() == disposition_owner::by_default;
    say(back ? "dispositions are back" : "DISPOSITIONS ARE LOST");
    return code == 0 && given_back && finished && back ? 0 : 1;
}
