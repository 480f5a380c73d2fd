#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The pages' code is code that runs: each ```cpp block of docs/*.md is compiled, and each whole program is run.

    check_docs.py [--include DIR] [--keep DIR] [--only TEXT] DOCS [COMPILER]

A block that begins with #include is a whole program. What it is expected to do stands in comments of its own:

    // prints: ready            a line of standard output; the lines given are all of them, in this order
    // reports: thread …        a line of standard error; others may lie between
    // exits: 3                 exit status, 0 if nothing is said
    // dies by: SIGSEGV         instead of an exit status
    // refused: tocsin: …       does not compile, and the first error says this
    // environment: NAME=value  set while it runs
    // flags: -g -lx            for the compiler; where there is no such library, the program is skipped

In prints and reports `…` stands for any text. A block marked ```cpp fragment is a piece of a function, or, marked
```cpp fragment file, of a file: it is compiled behind <tocsin/tocsin.hpp>, and not run. Every block has to be one of
the three. Links between the pages have to lead somewhere, and index.md to every page.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

BLOCK = re.compile(r"^```cpp([^\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
WORD = re.compile(r"//\s*(prints|reports|exits|dies by|refused|environment|flags):\s?(.*?)\s*$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
FLAGS = ["-std=c++20", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-pthread"]
PATIENCE = 30  # seconds for a program; none of them takes one
SKIPPED = 77   # what Meson takes for a skipped test

PREFACE = """#include <tocsin/tocsin.hpp>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>
#include <poll.h>
#include <unistd.h>
using namespace tocsin;
"""


class Block:
    def __init__(self, page, text, match):
        self.page = page
        self.line = text.count("\n", 0, match.start()) + 2
        self.kind = match[1].strip()
        self.code = match[2]
        self.place = f"{page.name}:{self.line}"
        self.words = {}
        for word, value in WORD.findall(self.code):
            self.words.setdefault(word, []).append(value)

    def is_program(self):
        return self.kind == "" and self.code.startswith("#include") and re.search(r"\bint main\(", self.code)

    def is_fragment(self):
        return self.kind in ("fragment", "fragment file")

    def located(self):
        return f'#line {self.line} "{self.page}"\n{self.code}'

    def one(self, word, otherwise=None):
        return self.words.get(word, [otherwise])[0]


def fragments_unit(blocks):
    """One unit for all fragments of a page: each in a function or a namespace of its own."""
    unit = PREFACE
    for number, block in enumerate(blocks):
        if block.kind == "fragment":
            unit += f"[[maybe_unused]] static void fragment_{number}() {{\n{block.located()}}}\n"
        else:
            unit += f"namespace fragment_{number} {{\n{block.located()}}}\n"
    return unit


def matches(expected, line):
    return re.fullmatch(".*".join(re.escape(part) for part in expected.split("…")), line) is not None


def check_output(block, out, err):
    wrong = []
    lines, expected = out.splitlines(), block.words.get("prints", [])
    if len(lines) != len(expected) or not all(map(matches, expected, lines)):
        wrong.append("standard output should have been:\n    " + "\n    ".join(expected or ["(nothing)"]))
    rest = iter(err.splitlines())
    for line in block.words.get("reports", []):
        if not any(matches(line, said) for said in rest):
            wrong.append(f"standard error lacks, in this order: {line}")
    return wrong


def check_end(block, status):
    deadly = block.one("dies by")
    expected = -signal.Signals[deadly] if deadly else int(block.one("exits", "0"))
    if status == expected:
        return []
    how = f"died by {signal.Signals(-status).name}" if status < 0 else f"exited with {status}"
    return [f"should have {'died by ' + deadly if deadly else f'exited with {expected}'}, but {how}"]


def prepare_children():
    """What programs inherit: no core files, nothing blocked, nothing ignored, wherever the test is run."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def clean_environment(block):
    clean = {name: value for name, value in os.environ.items() if name not in ("TOCSIN", "NOTIFY_SOCKET")}
    clean.update(pair.split("=", 1) for pair in block.words.get("environment", []))
    return clean


def run_program(block, program, folder):
    try:
        ran = subprocess.run([program], cwd=folder, env=clean_environment(block), stdin=subprocess.DEVNULL,
                             capture_output=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired as late:
        return [f"did not end within {PATIENCE} s\n{late.stdout or b''}\n{late.stderr or b''}"]
    out, err = (text.decode("utf-8", "replace") for text in (ran.stdout, ran.stderr))
    wrong = check_end(block, ran.returncode) + check_output(block, out, err)
    return wrong + [f"--- standard output\n{out}--- standard error\n{err}"] if wrong else []


def check_refusal(block, said):
    first = next((line for line in said.splitlines() if re.search(r"\berror:", line)), "")
    wanted = block.one("refused")
    return [] if wanted in first else [f"the first error should say: {wanted}\n{said}"]


def has_library(compiler, argument, folder):
    source = folder / "empty.cpp"
    source.write_text("int main() {}\n")
    return subprocess.run([compiler, source, argument, "-o", folder / "empty"], capture_output=True).returncode == 0


class Job:
    """A program of a page, or all of its fragments."""

    def __init__(self, place, source, block=None):
        self.place, self.source, self.block = place, source, block
        self.wrong, self.skipped = [], None

    def run(self, compiler, include, folder):
        folder.mkdir(parents=True)
        source = folder / "block.cpp"
        source.write_text(self.source)
        command = [compiler, *FLAGS, "-I", include, source]
        flags = self.block.one("flags", "").split() if self.block else []
        absent = [each for each in flags if each.startswith("-l") and not has_library(compiler, each, folder)]
        if absent:
            self.skipped = f"no library for {absent[0]}"
            return self
        refusal = self.block is not None and "refused" in self.block.words
        whole = self.block is not None and not refusal
        command += [*flags, "-o", folder / "program"] if whole else ["-fsyntax-only"]
        built = subprocess.run(command, capture_output=True, text=True)
        if refusal:
            self.wrong = check_refusal(self.block, built.stderr)
        elif built.returncode != 0:
            self.wrong = [f"does not compile:\n{built.stderr}"]
        elif whole:
            self.wrong = run_program(self.block, folder / "program", folder)
        return self


def jobs_of(page, problems):
    text = page.read_text()
    blocks = [Block(page, text, match) for match in BLOCK.finditer(text)]
    for block in blocks:
        if not block.is_program() and not block.is_fragment():
            problems.append(f"{block.place}: neither a whole program, which begins with #include and has a main, nor "
                            "marked ```cpp fragment")
    jobs = [Job(block.place, block.located(), block) for block in blocks if block.is_program()]
    fragments = [block for block in blocks if block.is_fragment()]
    if fragments:
        jobs.append(Job(f"{page.name}: fragments", fragments_unit(fragments)))
    return jobs


def check_links(docs, pages, problems):
    reached = set()
    for page in pages:
        for link in LINK.findall(re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)):
            target = page.parent / link
            if not target.exists():
                problems.append(f"{page.name}: the link {link} leads nowhere")
            elif page.name == "index.md":
                reached.add(target.resolve())
    for page in pages:
        if page.name != "index.md" and page.resolve() not in reached:
            problems.append(f"index.md: no link to {page.name}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--include", default="include")
    arguments.add_argument("--keep", help="leave the programs in this folder")
    arguments.add_argument("--only", default="", help="pages whose name has this in it")
    arguments.add_argument("docs")
    arguments.add_argument("compiler", nargs="?", default="g++")
    asked = arguments.parse_args()
    if shutil.which(asked.compiler) is None:
        print(f"{asked.compiler} is not installed")
        return SKIPPED
    prepare_children()
    docs = pathlib.Path(asked.docs).resolve()
    pages = sorted(docs.glob("*.md"))
    problems = [] if pages else [f"no page in {docs}: nothing was checked"]
    check_links(docs, pages, problems)
    jobs = [job for page in pages if asked.only in page.name for job in jobs_of(page, problems)]
    if not jobs:
        problems.append("no block of code: nothing was checked")
    include = pathlib.Path(asked.include).resolve()
    with tempfile.TemporaryDirectory() as temporary, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        root = pathlib.Path(asked.keep or temporary).resolve()
        folders = [root / re.sub(r"[^a-z0-9]+", "_", job.place) for job in jobs]
        for job in pool.map(lambda job, folder: job.run(asked.compiler, include, folder), jobs, folders):
            problems += [f"{job.place}: {each}" for each in job.wrong]
            if job.skipped:
                print(f"{job.place}: skipped, {job.skipped}")
    programs = sum(job.block is not None for job in jobs)
    print("\n".join(problems) or f"{len(pages)} pages, {programs} programs compiled and run with {asked.compiler}")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
