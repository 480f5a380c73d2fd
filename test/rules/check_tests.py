#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""No test is forgotten.

    check_tests.py ROOT

The build runs each file of test cases by a tag that is the file's name. A test case without that tag would be built
and never run, and a file that no meson.build names would not even be built: both are errors here.
"""

import pathlib
import re
import sys

CASE = re.compile(r"\b(?:TEMPLATE_)?TEST_CASE\s*\((.*?)\)\s*\{", re.DOTALL)
TAG = re.compile(r'"[^"]*?\[([^\]]+)\]')
# Samples and children: found by the scripts that use them, or built by a consumer of its own.
FOUND_OTHERWISE = {"violations", "consumers"}


def main():
    root = pathlib.Path(sys.argv[1]) / "test"
    builds = "\n".join(p.read_text() for p in root.rglob("meson.build"))
    problems, cases = [], 0
    for path in sorted(root.rglob("*.cpp")):
        name = path.relative_to(root)
        if FOUND_OTHERWISE & set(name.parts):
            continue
        if not re.search(rf"['/]{re.escape(path.stem)}(\.cpp)?'", builds):
            problems.append(f"test/{name}: no meson.build below test/ names it, so it is never built")
        for case in CASE.finditer(path.read_text()):
            cases += 1
            tag = TAG.search(re.sub(r'^\s*"(?:[^"\\]|\\.)*"(?:\s*"(?:[^"\\]|\\.)*")*\s*,', "", case[1]))
            if tag is None or tag[1] != path.stem:
                said = tag[1] if tag else "nothing"
                title = re.search(r'"([^"]*)"', case[1])
                problems.append(f"test/{name}: \"{title[1] if title else '?'}\" has the tag [{said}], so it never "
                                f"runs; its first tag must be [{path.stem}]")
    if cases == 0:
        problems.append("no test case found: nothing was checked")
    print("\n".join(problems) or f"{cases} test cases, each with its file's tag")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
