#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The README's code is code that is compiled: each ```cpp block occurs in an example or a test.

    check_readme.py ROOT

White space does not count. A block may be any run of whole lines of a source; a line `…` in it stands for lines left
out, and the parts around it must follow each other in one source.
"""

import pathlib
import re
import sys

BLOCK = re.compile(r"^```cpp[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


def squeezed(text):
    return re.sub(r"\s+", "", text)


def occurs(parts, source):
    at = 0
    for part in parts:
        at = source.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


def main():
    root = pathlib.Path(sys.argv[1])
    readme = root / "README.md"
    if not readme.is_file():
        print("there is no README.md")
        return 1
    sources = [squeezed(p.read_text()) for folder in ("examples", "test") for p in sorted((root / folder).rglob("*.cpp"))]
    text = readme.read_text()
    blocks = list(BLOCK.finditer(text))
    problems = [] if blocks else ["no ```cpp block in README.md: nothing was checked"]
    for block in blocks:
        parts = [squeezed(part) for part in re.split(r"^\s*(?://\s*)?(?:…|\.\.\.)\s*$", block[1], flags=re.MULTILINE)]
        parts = [part for part in parts if part]
        if not parts or not any(occurs(parts, source) for source in sources):
            line = text[:block.start()].count("\n") + 1
            problems.append(f"README.md:{line}: this code occurs in no example and no test:\n{block[1]}")
    print("\n".join(problems) or f"{len(blocks)} blocks of code, each in a source that is compiled")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
