#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Builds each fuzz target with clang++ and libFuzzer and runs it for a while.

    run_fuzz.py [--seconds N] [--include FOLDER] [--keep FOLDER] [TARGET...]

Exits with 77 if clang or its fuzzer runtime is absent (Debian: clang and libclang-rt-14-dev). An input that is not
survived is printed, and kept in the folder of --keep.
"""

import argparse
import base64
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TARGETS = ["elf", "unwind", "demangle", "settings", "tasks"]
SKIP = 77
FLAGS = ["-std=c++20", "-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=fuzzer,address,undefined",
         "-fno-sanitize-recover=undefined"]
# No input needs more than a fraction of a second: one that takes these seconds is a loop without a bound.
SLOWEST = 20
PROBE = '#include <cstddef>\nextern "C" int LLVMFuzzerTestOneInput(unsigned char const*, std::size_t) { return 0; }\n'
# What makes the tables that the ELF reader reads: kinds of symbols, a dynamic section, notes, a debug link.
ELF_SOURCE = ('int shared_data = 1;\nstatic int local_function(int x) { return x + shared_data; }\n'
              'namespace some_space { int function(int x, char const*) { return local_function(x); } }\n'
              'extern "C" __attribute__((weak)) int weak_function() { return some_space::function(2, ""); }\n')


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIP)


def clang():
    """A clang++ that can link a fuzz target."""
    found = os.environ.get("CLANGXX") or shutil.which("clang++") or shutil.which("clang++-14")
    if found is None:
        skip("there is no clang++")
    with tempfile.TemporaryDirectory() as folder:
        probe = pathlib.Path(folder, "probe.cpp")
        probe.write_text(PROBE)
        build = [found, *FLAGS, str(probe), "-o", str(probe.with_suffix(""))]
        done = subprocess.run(build, capture_output=True, text=True)
    if done.returncode != 0:
        skip(f"{found} cannot link a fuzz target (package libclang-rt-14-dev?): {done.stderr.strip()[:300]}")
    return found


def elf_seeds(compiler, folder):
    """Objects, programs' libraries and debug files of a few KiB, made by the tools at hand."""
    source = folder / "seed.cpp"
    source.write_text(ELF_SOURCE)
    small = ["-nostdlib", "-fno-exceptions", "-fno-asynchronous-unwind-tables", "-Wl,-z,noseparate-code",
             "-Wl,-z,max-page-size=4096", "-Wl,--build-id=0x0102030405060708"]
    variants = {"object": ["-c"], "library": ["-shared", "-fPIC", *small],
                "program": ["-static", "-Wl,-e,weak_function", *small]}
    made = []
    for name, flags in variants.items():
        target = folder / name
        if subprocess.run([compiler, *flags, str(source), "-o", str(target)], capture_output=True).returncode == 0:
            made.append(target)
    library, debug = folder / "library", folder / "library.debug"
    if shutil.which("objcopy") and library in made:
        linked = folder / "linked"
        tools = [["objcopy", "--only-keep-debug", str(library), str(debug)],
                 ["objcopy", "--strip-all", f"--add-gnu-debuglink={debug}", str(library), str(linked)]]
        made += [pathlib.Path(tool[-1]) for tool in tools
                 if subprocess.run(tool, capture_output=True).returncode == 0]
    source.unlink()
    # The last 32 bytes are the addresses that are asked for.
    addresses = b"".join(value.to_bytes(8, "little") for value in (0x1, 0x231, 0x301, 0x1005))
    for file in made:
        file.write_bytes(file.read_bytes() + addresses)


def last(pattern, text):
    found = re.findall(pattern, text)
    return found[-1] if found else "?"


def run(target, compiler, options, work):
    binary = work / target
    build = [compiler, *FLAGS, "-I", str(options.include), str(HERE / f"{target}.cpp"), "-o", str(binary)]
    subprocess.run(build, check=True)
    corpus = work / f"{target}.corpus"
    seeds = work / f"{target}.seeds"
    for folder in (corpus, seeds):
        folder.mkdir()
    for seed in sorted((HERE / "corpus" / target).glob("*")):
        text = seed.read_bytes()
        (seeds / seed.stem).write_bytes(bytes.fromhex(text.decode()) if seed.suffix == ".hex" else text)
    if target == "elf":
        elf_seeds(compiler, seeds)
    kept = pathlib.Path(options.keep or work)
    command = [str(binary), f"-max_total_time={options.seconds}", f"-timeout={SLOWEST}", "-print_final_stats=1",
               f"-artifact_prefix={kept}/{target}-", str(corpus), str(seeds)]
    dictionary = HERE / "corpus" / f"{target}.dict"
    if dictionary.is_file():
        command.insert(1, f"-dict={dictionary}")
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=work)
    text = done.stdout + done.stderr
    figures = [last(pattern + r": +(\d+)", text)
               for pattern in ("number_of_executed_units", "average_exec_per_sec", "cov", "ft", "corp")]
    print("{:9} {:>9} runs, {:>6} a second, {:>5} edges, {:>6} features, {:>5} inputs kept".format(target, *figures),
          flush=True)
    if done.returncode == 0:
        return True
    print(text[-6000:])
    for artifact in kept.glob(f"{target}-*-*"):
        print(f"{artifact.name}: base64 {base64.b64encode(artifact.read_bytes()).decode()}")
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=30, help="for each target")
    parser.add_argument("--include", type=pathlib.Path, default=HERE.parent.parent / "include")
    parser.add_argument("--keep", type=pathlib.Path, help="an existing folder for inputs that were not survived")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    options = parser.parse_args()
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error("no such target: " + ", ".join(sorted(unknown)))
    options.include = options.include.resolve()
    if options.keep:
        options.keep = options.keep.resolve()
    compiler = clang()
    with tempfile.TemporaryDirectory(prefix="tocsin-fuzz-") as folder:
        survived = [run(target, compiler, options, pathlib.Path(folder)) for target in options.targets or TARGETS]
    sys.exit(0 if all(survived) else 1)


if __name__ == "__main__":
    main()
