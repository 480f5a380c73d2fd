#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the whole library as one header, for copying and for online compilers.

    single_header.py --version VERSION [--depfile FILE] OUTPUT
    single_header.py --version VERSION --dist         from `meson dist`, into the archive

Everything that <tocsin/tocsin.hpp> reaches is put in the order in which a compiler would have read it. An #include
that stands under an #if stays under it, and what both sides of such an #if need is put in front of it.
"""

import argparse
import os
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
OWN = re.compile(r"\s*#\s*include\s*<(tocsin/[^>]+)>")
FOREIGN = re.compile(r"\s*#\s*include\s*<([^>]+)>")
OPENS = re.compile(r"\s*#\s*if")
CLOSES = re.compile(r"\s*#\s*endif")


class Amalgam:
    def __init__(self, include):
        self.include, self.reached, self.foreign, self.text = include, [], set(), []

    def lines(self, name):
        """The file without what one header says once for all: its licence tag and its #pragma once."""
        kept = (self.include / name).read_text(encoding="utf-8").splitlines()
        return [line for line in kept if "SPDX-License-Identifier:" not in line and line.strip() != "#pragma once"]

    def add(self, name):
        """Appends a file, after what it needs, unless it is there already."""
        if name in self.reached:
            return
        self.reached.append(name)
        body = self.expand(self.lines(name))
        self.text += ["", f"// --- {name}", *body]

    def expand(self, lines):
        """The lines of one file that stay where they are; what they include has been appended before them."""
        body, depth = [], 0
        for at, line in enumerate(lines):
            if OPENS.match(line):
                if depth == 0:
                    self.add_what_both_need(lines[at:end_of_condition(lines, at)])
                depth += 1
            elif CLOSES.match(line):
                depth -= 1
            own, foreign = OWN.match(line), FOREIGN.match(line)
            if own and depth == 0:
                self.add(own[1])
            elif own:
                body += self.in_place(own[1])
            elif foreign and depth == 0:
                self.foreign.add(foreign[1])
            else:
                body.append(line)
        return body

    def add_what_both_need(self, block):
        for own in filter(None, map(OWN.match, block)):
            for needed in filter(None, map(OWN.match, self.lines(own[1]))):
                self.add(needed[1])

    def in_place(self, name):
        """A file of one platform: under its #if. Reached from anywhere else as well, it would be missing there."""
        if name in self.reached:
            raise SystemExit(f"single_header.py: {name} is included both under an #if and without one")
        self.reached.append(name)
        return [f"// --- {name}", *self.expand(self.lines(name))]


def end_of_condition(lines, start):
    depth = 0
    for at in range(start, len(lines)):
        depth += bool(OPENS.match(lines[at])) - bool(CLOSES.match(lines[at]))
        if depth == 0:
            return at + 1
    raise SystemExit("single_header.py: an #if without #endif")


def without_empty_runs(lines):
    return [line for at, line in enumerate(lines) if line or (at > 0 and lines[at - 1])]


def requirements(lines):
    """The check of compiler and system that stands before the first #include of the umbrella, with its comment."""
    before = lines[:next(at for at, line in enumerate(lines) if OWN.match(line) or FOREIGN.match(line))]
    start = next((at for at, line in enumerate(before) if OPENS.match(line)), None)
    return [] if start is None else before[start:end_of_condition(before, start)]


def write(version, output):
    amalgam = Amalgam(ROOT / "include")
    check = requirements(amalgam.lines("tocsin/tocsin.hpp"))
    amalgam.add("tocsin/tocsin.hpp")
    head = ["// SPDX-License-Identifier: MIT",
            f"// tocsin {version}, all of it in one header. Generated from the headers in include/: edit those.",
            "//", *(f"// {line}".rstrip() for line in (ROOT / "LICENSE").read_text().splitlines()),
            "#ifndef TOCSIN_SINGLE_HEADER", "#define TOCSIN_SINGLE_HEADER", "", *check, ""]
    names = sorted(amalgam.foreign, key=lambda name: ("." not in name, name))
    text = head + [f"#include <{name}>" for name in names] + amalgam.text + ["", "#endif", ""]
    output.write_text("\n".join(without_empty_runs(text)), encoding="utf-8")
    return amalgam.reached


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--version", default="")
    options.add_argument("--depfile", type=pathlib.Path)
    options.add_argument("--dist", action="store_true")
    options.add_argument("output", nargs="?", type=pathlib.Path)
    given = options.parse_args()
    if given.dist:
        given.output = pathlib.Path(os.environ["MESON_DIST_ROOT"]) / "tocsin.hpp"
    elif given.output is None:
        options.error("OUTPUT is missing")
    reached = write(given.version, given.output)
    if given.depfile:
        needed = " ".join(str(ROOT / "include" / name) for name in reached)
        given.depfile.write_text(f"{given.output}: {needed}\n")


if __name__ == "__main__":
    main()
