#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A program that must not compile, and what the compiler must say first.

    check.py --include DIR [--flag=FLAG] [--unless=MACRO] COMPILER FILE.cpp      line 1 of the file: // error: <sentence>
    check.py --self-test COMPILER

The file must be refused, the first line with "error:" must contain the sentence, and all that is printed must be at
most 25 lines: a reader sees the reason without scrolling. Exits with 77 (skipped) where the compiler is not installed,
or compiles nothing with the flag, or where the standard library defines the macro in <version>.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

MOST_LINES = 25
MARK = "// error: "


def is_case(compiler, flags, unless):
    command = [compiler, "-fsyntax-only", "-std=c++20", *flags, "-x", "c++", "-"]
    probe = "#include <version>\n" + (f"#if defined({unless})\n#error\n#endif\n" if unless else "")
    return subprocess.run(command, input=probe, capture_output=True, text=True).returncode == 0


def check(compiler, include, path, flags=()):
    """What is wrong with this refusal; empty if nothing."""
    first = pathlib.Path(path).read_text().split("\n", 1)[0]
    sentence = first.removeprefix(MARK).strip()
    if not first.startswith(MARK) or not sentence:
        return f"line 1 is not `{MARK}<sentence>`"
    command = [compiler, "-fsyntax-only", "-std=c++20", *flags, *([f"-I{include}"] if include else []), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, LC_ALL="C"))
    lines = (done.stdout + done.stderr).splitlines()
    if done.returncode == 0:
        return f"compiles, and should say: {sentence}"
    error = next((line for line in lines if "error:" in line), "no line with `error:`")
    said = "\n".join(lines[:60])
    if sentence not in error:
        return f"the first error is\n  {error}\nand should say\n  {sentence}\nAll of it:\n{said}"
    if len(lines) > MOST_LINES:
        return f"{len(lines)} lines, and at most {MOST_LINES} are wanted:\n{said}"
    return ""


# A source, and what the checker must say of it.
SAMPLES = {
    "refused as stated": ('// error: wanted: not this\nstatic_assert(sizeof(int) == 1, "wanted: not this");\n', ""),
    "compiles": ("// error: wanted\nint ok;\n", "compiles, and should say: wanted"),
    "another error first": ('// error: wanted\nint x = unknown;\nstatic_assert(sizeof(int) == 1, "wanted");\n',
                            "the first error is"),
    "no sentence": ("int x = unknown;\n", "line 1 is not"),
    "too long": ('// error: wanted\nstatic_assert(sizeof(int) == 1, "wanted");\n' + "int x = unknown;\n" * 30,
                 "lines, and at most 25"),
}


def self_test(compiler):
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for name, (text, wanted) in SAMPLES.items():
            path = pathlib.Path(folder) / "sample.cpp"
            path.write_text(text)
            said = check(compiler, None, path)
            ok = wanted in said if wanted else said == ""
            print(f"{'ok  ' if ok else 'FAIL'} {compiler} {name}: {said.splitlines()[0] if said else 'accepted'}")
            failed |= not ok
    return failed


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--include")
    options.add_argument("--flag", action="append", default=[])
    options.add_argument("--unless")
    options.add_argument("--self-test", action="store_true")
    options.add_argument("compiler")
    options.add_argument("file", nargs="?")
    given = options.parse_args()
    if shutil.which(given.compiler) is None:
        print(f"skipped: {given.compiler} is not installed")
        return 77
    if not is_case(given.compiler, given.flag, given.unless):
        print(f"skipped: {given.compiler} {' '.join(given.flag)} does not compile, or has {given.unless}")
        return 77
    if given.self_test:
        return self_test(given.compiler)
    wrong = check(given.compiler, given.include, given.file, given.flag)
    print(f"{given.file} with {given.compiler}: {wrong or 'refused as stated'}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
