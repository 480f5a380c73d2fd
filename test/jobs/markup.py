#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Gives a report in symbolizer markup to LLVM's symbolizer, which has to find functions, files and lines.

    markup.py --include DIR COMPILER

Exits with 77 (skipped) where the compiler or a symbolizer that knows --filter-markup is missing.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77

PROGRAM = r"""
#include <tocsin/dump.hpp>
#include <tocsin/forms.hpp>
#include <tocsin/guard.hpp>

using namespace tocsin;

static int volatile* volatile nowhere = nullptr;
[[gnu::noinline]] static void write_null() {
    *nowhere = 1;  // crashes here
}
int main() {
    guard signals{on_crash(dump_threads.as(markup))};
    write_null();
}
"""


def line_of(text):
    return next(n for n, line in enumerate(PROGRAM.splitlines(), 1) if text in line)


def find_symbolizer():
    names = ["llvm-symbolizer", *(f"llvm-symbolizer-{version}" for version in range(30, 14, -1))]
    for path in filter(None, map(shutil.which, names)):
        if "--filter-markup" in subprocess.run([path, "--help"], capture_output=True, text=True).stdout:
            return path
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--include", required=True)
    parser.add_argument("compiler")
    given = parser.parse_args()
    if shutil.which(given.compiler) is None:
        print(f"skipped: {given.compiler} is not installed")
        return SKIPPED
    symbolizer = find_symbolizer()
    if symbolizer is None:
        print("skipped: no llvm-symbolizer that knows --filter-markup (apt-get install llvm-16)")
        return SKIPPED
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "victim.cpp")
        source.write_text(PROGRAM)
        victim = str(pathlib.Path(folder, "victim"))
        # DWARF 4 is what every symbolizer reads. The program runs stripped; its debug file is found by build-id.
        subprocess.run([given.compiler, "-std=c++20", "-g", "-gdwarf-4", "-I", given.include, str(source), "-o", victim,
                        "-Wl,--build-id"], check=True)
        whole = pathlib.Path(victim).read_bytes()
        subprocess.run(["strip", victim], check=True)
        report = subprocess.run([victim], capture_output=True, text=True)
        module = re.search(r"^{{{module:0x0:[^:]*:elf:([0-9a-f]{2})([0-9a-f]+)}}}$", report.stderr, re.MULTILINE)
        if module is not None:
            debug = pathlib.Path(folder, ".build-id", module[1], module[2] + ".debug")
            debug.parent.mkdir(parents=True)
            debug.write_bytes(whole)
        shown = subprocess.run([symbolizer, "--filter-markup", "--color=never", f"--debug-file-directory={folder}"],
                               input=report.stderr, capture_output=True, text=True).stdout
    wanted = ["write_null", f"victim.cpp:{line_of('crashes here')}", f"victim.cpp:{line_of('write_null();')}",
              "where it happened"]
    missing = [text for text in wanted if text not in shown]
    if report.returncode != -11 or missing:
        print(f"status {report.returncode}, not found: {missing}\n--- the report\n{report.stderr}\n--- symbolized\n{shown}")
        return 1
    print(f"{symbolizer} understands the report")
    return 0


if __name__ == "__main__":
    sys.exit(main())
