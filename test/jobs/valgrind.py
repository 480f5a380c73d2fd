#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs a program with guards under valgrind, which moves the stack and stands between program and kernel.

    valgrind.py --include DIR COMPILER

The program has to do what it does without, and memcheck has to find nothing: a library that only looks whether a page
is there must not look like an error of the program.

Exits with 77 (skipped) where valgrind or the compiler is missing.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77

PROGRAM = r"""
#include <tocsin/block.hpp>
#include <tocsin/call.hpp>
#include <tocsin/defer.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/in_handler.hpp>
#include <tocsin/wait.hpp>
#include <tocsin/wake.hpp>
#include <tocsin/watchdog.hpp>

#include <chrono>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

using namespace tocsin;

static volatile int handled, deferred;
static int told[2];

static void* another(void*) {
    raise(SIGUSR1);  // delivered to this thread
    return nullptr;
}

int main() {
    if (::pipe(told) != 0) return 2;
    for (int i = 0; i < 3; ++i) {
        guard signals{on<SIGTERM>(wake), on<SIGUSR1>(in_handler([](delivery const&) noexcept { handled = handled + 1; })),
                      on<SIGUSR2>(defer([](delivery const&) { deferred = deferred + 1; })),
                      on<SIGHUP>(call([](delivery const&) { (void)!::write(told[1], "c", 1); })), watchdog(std::chrono::hours{1})(wake)};
        pthread_t thread;
        ::pthread_create(&thread, nullptr, another, nullptr);
        ::pthread_join(thread, nullptr);
        raise(SIGUSR1);
        raise(SIGUSR2);
        raise(SIGHUP);
        raise(SIGTERM);
        signals.feed();
        signals.check();
        pollfd ready{signals.fd(), POLLIN, 0};
        if (::poll(&ready, 1, 20000) != 1) return 3;
        for (delivery const& each : signals.take()) ::printf("took %d\n", each.signal());
        char c = 0;
        if (::read(told[0], &c, 1) != 1) return 4;
    }
    {
        block<SIGUSR1> const held;
        raise(SIGUSR1);
        ::printf("waited for %d\n", wait(signal_set{SIGUSR1}).signal());
    }
    ::printf("handled %d, deferred %d\n", handled, deferred);
}
"""

EXPECTED = 'took 15\n' * 3 + 'waited for 10\nhandled 6, deferred 3\n'


def main():
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument('--include', required=True)
    asked.add_argument('compiler')
    given = asked.parse_args()
    for tool in ('valgrind', given.compiler):
        if shutil.which(tool) is None:
            print(f'skipped: {tool} is not installed')
            return SKIPPED
    with tempfile.TemporaryDirectory() as folder:
        source, program = pathlib.Path(folder, 'p.cpp'), pathlib.Path(folder, 'p')
        source.write_text(PROGRAM)
        subprocess.run([given.compiler, '-std=c++20', '-O1', '-gdwarf-4', '-I', given.include, source, '-o', program,
                        '-pthread'], check=True)
        runs = [[program], ['valgrind', '-q', '--error-exitcode=9', program]]
        for command in runs:
            done = subprocess.run(command, capture_output=True, text=True, timeout=90)
            if done.returncode != 0 or done.stdout != EXPECTED:
                print(f'{command[0]}: ended with {done.returncode}\n{done.stdout}{done.stderr}')
                return 1
    print(f'{given.compiler}: the same with and without valgrind')
    return 0


if __name__ == '__main__':
    sys.exit(main())
