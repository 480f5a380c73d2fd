#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Reads cores: after a report the core is what it would have been without one.

    core.py --include DIR COMPILER

A program is built, crashed in several ways, once with a guard that reports and once without, and both cores are read
back with gdb: signal, si_code and si_addr (or the sender and his value), the function that crashed and its callers,
and what the other thread was doing have to be the same, and right.

Exits with 77 (skipped) where gdb or the compiler is missing, or cores do not become files called "core".
"""

import argparse
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

SKIPPED = 77

PROGRAM = r"""
#include <tocsin/chain.hpp>
#include <tocsin/dump.hpp>
#include <tocsin/guard.hpp>
#include <tocsin/thread_guard.hpp>

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

using namespace tocsin;

static volatile int ready;
[[gnu::noinline]] static void other_waits() {
    ready = 1;
    for (;;) ::pause();
}
static void* other(void*) {
    other_waits();
    return nullptr;
}
template <class T>
static T* opaque(T* pointer) {
    __asm__ volatile("" : "+r"(pointer));
    return pointer;
}
[[gnu::noinline]] static void write_wild() { *opaque(reinterpret_cast<int volatile*>(0x123456789000)) = 1; }
[[gnu::noinline]] static void illegal() { __builtin_trap(); }
[[gnu::noinline]] static void aborts() { ::abort(); }
[[gnu::noinline]] static void queued() {
    sigval value{};
    value.sival_int = 4711;
    ::sigqueue(::getpid(), SIGSEGV, value);
    __asm__ volatile("");  // or the call is the function's last act, and the function not on the stack
}
[[gnu::noinline]] static void killed() {
    ::kill(::getpid(), SIGSEGV);
    __asm__ volatile("");
}

static void crash(char const* how) {
    if (!strcmp(how, "write_wild")) write_wild();
    if (!strcmp(how, "illegal")) illegal();
    if (!strcmp(how, "aborts")) aborts();
    if (!strcmp(how, "queued")) queued();
    if (!strcmp(how, "killed")) killed();
}

int main(int, char** words) {
    pthread_t thread;
    ::pthread_create(&thread, nullptr, other, nullptr);
    while (!ready) ::usleep(100);
    if (!strcmp(words[2], "bare")) crash(words[1]);
    if (!strcmp(words[2], "chain")) {
        guard signals{on_crash(dump_threads, chain)};
        crash(words[1]);
    }
    guard signals{on_crash(dump_threads)};
    crash(words[1]);
    return 1;
}
"""

# How it crashes: the signal, and what has to stand in the core, where that is a constant.
CRASHES = {
    "write_wild": (signal.SIGSEGV, {"si_code": 1, "address": 0x123456789000}),
    "illegal": (signal.SIGILL, {"si_code": 2}),
    "aborts": (signal.SIGABRT, {"si_code": -6}),
    "queued": (signal.SIGSEGV, {"si_code": -1, "value": 4711}),
    "killed": (signal.SIGSEGV, {"si_code": 0}),
}


def skip(reason):
    print("skipped:", reason)
    sys.exit(SKIPPED)


def build(compiler, include, folder):
    source = folder / "crash.cpp"
    source.write_text(PROGRAM)
    program = folder / "crash"
    subprocess.run([compiler, "-std=c++20", "-g", "-O1", "-I", include, source, "-o", program, "-pthread"], check=True)
    return program


def raise_limit():
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def crash(program, how, guard, folder):
    """Runs the program in its own folder. Answers its wait status, what it wrote, and the core."""
    folder.mkdir()
    ended = subprocess.run([program, how, guard], cwd=folder, preexec_fn=raise_limit, stderr=subprocess.PIPE, text=True,
                           timeout=60)
    cores = [path for path in folder.iterdir() if path.name.startswith("core")]
    return ended.returncode, ended.stderr, cores[0] if cores else None


def read(program, core):
    """What gdb finds in a core."""
    commands = ["set pagination off", "set print address off", "printf \"signo=%d\\n\", $_siginfo.si_signo",
                "printf \"si_code=%d\\n\", $_siginfo.si_code",
                "printf \"address=%ld\\n\", (long)$_siginfo._sifields._sigfault.si_addr",
                "printf \"value=%d\\n\", $_siginfo._sifields._rt.si_sigval.sival_int",
                "echo stack=", "info symbol $pc", "bt", "echo others\\n", "thread apply all bt"]
    words = ["gdb", "-batch", "-nx"]
    for command in commands:
        words += ["-ex", command]
    text = subprocess.run(words + [program, core], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=120).stdout
    found = {key: int(value) for key, value in re.findall(r"^(signo|si_code|address|value)=(-?\d+)$", text, re.M)}
    place = re.search(r"^stack=(.*)$", text, re.M)
    found["place"] = place.group(1).split(" in section")[0] if place else ""
    stack = text.partition("stack=")[2].partition("others\n")
    found["functions"] = re.findall(r"^#\d+\s+(?:in )?([\w:]+) ?\(", stack[0], re.M)
    found["others"] = stack[2]
    return found, text


def check(program, how, folder):
    expected_signal, constants = CRASHES[how]
    problems = []
    bare_status, _, bare_core = crash(program, how, "bare", folder / f"{how}-bare")
    if bare_core is None:
        skip("a crash leaves no core here")
    bare, _ = read(program, bare_core)
    for guard in ("plain", "chain"):
        status, said, core = crash(program, how, guard, folder / f"{how}-{guard}")
        problem = lambda text: problems.append(f"{how}, {guard}: {text}")
        if status != -expected_signal or status != bare_status:
            problem(f"ended with {status}")
        if "tocsin: end of report, 2 threads" not in said:
            problem(f"no report:\n{said}")
        if core is None:
            problem("no core")
            continue
        found, text = read(program, core)
        if found.get("signo") != expected_signal:
            problem(f"signal {found.get('signo')} in the core")
        for key, value in constants.items():
            if found.get(key) != value:
                problem(f"{key} is {found.get(key)}, not {value}")
        if found["place"] != bare["place"]:
            problem(f"stands at {found['place']}, and without a report at {bare['place']}")
        if found["functions"] != bare["functions"] or how not in found["functions"]:
            problem(f"stack {found['functions']}, and without a report {bare['functions']}")
        if "other_waits" not in found["others"]:
            problem(f"the other thread is lost:\n{text}")
    return problems


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--include", required=True)
    arguments.add_argument("compiler")
    given = arguments.parse_args()
    if shutil.which("gdb") is None:
        skip("gdb is not installed")
    if shutil.which(given.compiler) is None:
        skip(f"{given.compiler} is not installed")
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if pattern not in ("core", "core.%p"):
        skip(f"cores go to '{pattern}'")
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        skip("cores are forbidden here")
    with tempfile.TemporaryDirectory(prefix="tocsin-core-") as name:
        folder = pathlib.Path(name)
        program = build(given.compiler, os.path.abspath(given.include), folder)
        problems = [problem for how in CRASHES for problem in check(program, how, folder)]
    for problem in problems:
        print(problem)
    print(f"{len(CRASHES)} ways to crash, each with a report and with a chain: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
