#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Including the headers runs nothing before main, and two units that include them link.

    check_init_array.py --include DIR [--header NAME] COMPILER

The sizes of .init_array and its relatives, in the object and in the linked program, are compared with those of a unit
that includes only the standard headers which the library's headers name (<iostream>, say, would bring its own).
Exits with 77 (skipped) where the compiler is not installed.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SECTIONS = (".preinit_array", ".init_array", ".fini_array", ".ctors", ".dtors", ".text.startup")
ROW = re.compile(r"^\s*\[\s*\d+\]\s+(\S+)\s+\S+\s+[0-9a-f]+\s+[0-9a-f]+\s+([0-9a-f]+)")
INCLUDE = re.compile(r"^\s*#\s*include\s*<([^>]+)>", re.MULTILINE)
WAYS = [["-O0"], ["-O2"], ["-O0", "-fno-exceptions", "-fno-rtti"]]


def run(command):
    return subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, LC_ALL="C"))


def sizes(path):
    found = dict.fromkeys(SECTIONS, 0)
    for line in run(["readelf", "-S", "-W", path]).stdout.splitlines():
        row = ROW.match(line)
        # An object has numbered relatives: .init_array.00100, .text.startup.main
        base = row and next((s for s in SECTIONS if row[1] == s or row[1].startswith(s + ".")), None)
        if base:
            found[base] += int(row[2], 16)
    return found


def standard_headers(include, header):
    """The headers of the system that `header` names, itself or through others of the library; in their order."""
    seen, found, queue = set(), [], [header]
    while queue:
        name = queue.pop()
        path = pathlib.Path(include) / name
        if name in seen:
            continue
        seen.add(name)
        if path.is_file():
            queue += INCLUDE.findall(path.read_text())
        else:
            found.append(name)
    return found


def build(compiler, flags, folder, name, texts):
    """Compiles and links the texts; returns the sizes of the first object and of the program."""
    objects = []
    for number, text in enumerate(texts):
        target = os.path.join(folder, f"{name}{number}")
        pathlib.Path(target + ".cpp").write_text(text)
        done = run([compiler, "-std=c++20", *flags, "-c", target + ".cpp", "-o", target + ".o"])
        if done.returncode != 0:
            sys.exit(f"{compiler} cannot compile {name}:\n{done.stderr}")
        objects.append(target + ".o")
    program = os.path.join(folder, name)
    done = run([compiler, *objects, "-pthread", "-o", program])
    if done.returncode != 0:
        sys.exit(f"{compiler}: {len(texts)} units that include the headers do not link:\n{done.stderr}")
    return sizes(objects[1]), sizes(program)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--include", required=True)
    options.add_argument("--header", default="tocsin/tocsin.hpp")
    options.add_argument("compiler")
    given = options.parse_args()
    for tool in (given.compiler, "readelf"):
        if shutil.which(tool) is None:
            print(f"skipped: {tool} is not installed")
            return 77
    if not (pathlib.Path(given.include) / given.header).is_file():
        print(f"there is no {given.header}")
        return 1
    standard = "".join(f"#include <{name}>\n" for name in standard_headers(given.include, given.header)
                       if run([given.compiler, "-E", "-x", "c++", "-std=c++20", "-include", name, "/dev/null"]).returncode == 0)
    ours = standard + f"#include <{given.header}>\n"
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for way in WAYS:
            flags = [*way, f"-I{given.include}"]
            main_unit = "int main() {}\n"
            without = build(given.compiler, flags, folder, "without", [main_unit, standard + "int other;\n"])
            with_us = build(given.compiler, flags, folder, "with", [main_unit, ours + "int other;\n", ours])
            for what, before, after in zip(("object", "program"), without, with_us):
                same = before == after
                failed |= not same
                print(f"{given.compiler} {' '.join(way)} {what}: .init_array {after['.init_array']} bytes, "
                      f"without the headers {before['.init_array']}" + ("" if same else f"; all: {before} -> {after}"))
    return failed


if __name__ == "__main__":
    sys.exit(main())
