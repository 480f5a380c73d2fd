#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Each header compiles alone, without a warning; the umbrella also in the modes that are promised.

    check_headers.py --include DIR COMPILER

Exits with 77 (skipped) where the compiler is not installed.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

# The same as in the top meson.build, and errors.
FLAGS = ["-fsyntax-only", "-x", "c++", "-Werror", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion",
         "-Wsign-conversion", "-Wold-style-cast", "-Wcast-qual", "-Wnon-virtual-dtor"]
MODES = [["-std=c++20", "-fno-exceptions"], ["-std=c++20", "-fno-exceptions", "-fno-rtti"], ["-std=c++20", "-O2"],
         ["-std=gnu++20"], ["-std=c++2b"]]
MACHINE = re.compile(r"_(x86_64|aarch64)$")


def compile_text(compiler, include, text, mode):
    command = [compiler, *FLAGS, *mode, f"-I{include}", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, env=dict(os.environ, LC_ALL="C"))


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--include", required=True)
    options.add_argument("compiler")
    given = options.parse_args()
    if shutil.which(given.compiler) is None:
        print(f"skipped: {given.compiler} is not installed")
        return 77
    machine = subprocess.run([given.compiler, "-dumpmachine"], capture_output=True, text=True).stdout.split("-")[0]

    root = pathlib.Path(given.include)
    jobs = []
    for path in sorted(root.rglob("*.hpp")):
        other = MACHINE.search(path.stem)
        if other and other[1] != machine:
            print(f"left out: {path.name}, for another machine than {machine}")
            continue
        name = path.relative_to(root).as_posix()
        modes = [["-std=c++20"]] + (MODES if name == "tocsin/tocsin.hpp" else [])
        # Twice: #pragma once must hold.
        jobs += [(name, mode, f"#include <{name}>\n#include <{name}>\n") for mode in modes]
    if not jobs:
        print(f"no header in {root}: nothing was checked")
        return 1

    # Two at a time: the check shares the machine with other tests.
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda job: compile_text(given.compiler, root, job[2], job[1]), jobs))
    failed = 0
    for (name, mode, _), result in zip(jobs, results):
        if result.returncode != 0 or result.stderr.strip():
            failed += 1
            print(f"{given.compiler} {' '.join(mode)}: <{name}> does not compile alone\n{result.stderr[:2000]}")
    print(f"{given.compiler}: {len(jobs)} compilations, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
