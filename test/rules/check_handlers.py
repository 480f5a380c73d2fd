#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Reads object code: what runs in a signal handler calls only what allowed_calls.txt allows.

A unit is compiled in several ways. Handlers are: every function of namespace tocsin::in_signal, every function that is
given an in_signal::arrival (a row's reactions: nobody has one outside a handler), and what the list names as a root.
From each, every call and every address of a function is followed through the object. Refused, with the path that led
there: a name that leaves the object and is not on the list, an indirect call in a function that is not on the list,
thread-local storage, and what no list can allow (NEVER). No handler found, or a root that the unit does not contain,
is an error, or the check could pass empty.

    check_handlers.py --include DIR --allow FILE COMPILER UNIT.cpp
    check_handlers.py --self-test DIR --allow FILE COMPILER      each sample of DIR must be refused as its line 1 says

Exits with 77 (skipped) where the compiler is not installed.
"""

import argparse
import functools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

# With jump tables a switch is an indirect jump; its targets would be hidden from the walk.
COMMON = ["-std=c++20", "-c", "-g0", "-w", "-ffunction-sections", "-fno-jump-tables"]
WAYS = [
    ["-O0"],
    ["-O2"],
    ["-O2", "-fno-exceptions"],
    ["-O2", "-fPIC", "-fstack-protector-strong"],
]
SELF_TEST_WAYS = [["-O0"], ["-O2"], ["-O2", "-fPIC"]]

# The function's own scope, not one that is merely named in its parameters: _ZN, the qualifiers of a member, the scope.
# Each Z in front is a function around a local class or lambda.
IN_SIGNAL = re.compile(r"_ZZ*N[rVKRO]*6tocsin9in_signal")
ARRIVAL = re.compile(r"[(,] ?tocsin::in_signal::arrival( const)?&")

NEVER = {
    "__cxa_guard_acquire": "a function-local static takes a lock",
    "__cxa_guard_release": "a function-local static takes a lock",
    "__cxa_throw": "an exception allocates and unwinds through the kernel's frame",
    "__cxa_rethrow": "an exception allocates and unwinds through the kernel's frame",
    "__cxa_allocate_exception": "an exception allocates",
    "__tls_get_addr": "thread-local storage may allocate on first use",
}

FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")
# In wide output the relocations of an instruction follow it on its line.
RELOCATION = re.compile(r"\t[0-9a-f]+: (R_\w+)\t(\S+)")
INSTRUCTION = re.compile(r"^\s*[0-9a-f]+:\t([^\t]*)")
# Address, seven flags (the last says what it is), section, size, perhaps a visibility, name.
SYMBOL = re.compile(r"^([0-9a-f]+) (.{7}) (\S+)\t[0-9a-f]+\s+(?:\.\w+ |0x\w+ )?(\S+)$")
ADDEND = re.compile(r"[-+]0x[0-9a-f]+$")
TLS = re.compile(r"TLS|TPOFF|DTPMOD")
# Thread pointer plus a constant other than 0 (the pointer itself) and 0x28 (the stack protector's word).
TLS_OPERAND = re.compile(r"%[fg]s:(?!(0x0|0x28|0)\b(?!\())")
INDIRECT = re.compile(r"^(?:(?:notrack|bnd|repz?|data16)\s+)*(?:(?:call|jmp)[lqw]?\s+\*|(?:blr|br|blraa|braa)\s)")
# A call through the table of addresses that the linker fills in: as good as direct.
THROUGH_GOT = re.compile(r"GOTPC")
# Named by the code, called by nobody.
NOT_CALLED = {"_GLOBAL_OFFSET_TABLE_", "_DYNAMIC"}


class Allowed:
    """allowed_calls.txt: lines of a kind, a name and a reason."""

    KINDS = ("call", "indirect", "root")

    def __init__(self, path):
        self.call, self.indirect, self.root = {}, {}, {}
        for number, line in enumerate(pathlib.Path(path).read_text().splitlines(), 1):
            line = line.split("#", 1)[0].strip()
            if not line:
                continue
            words = line.split(None, 2)
            if len(words) < 3 or words[0] not in self.KINDS or len(words[2].split()) < 3:
                sys.exit(f"{path}:{number}: want `{'|'.join(self.KINDS)} NAME reason`, with a whole reason")
            getattr(self, words[0])[words[1]] = words[2]

    @staticmethod
    def among(listed, demangled):
        """The name in `listed` that this function has; a template's return type stands before it."""
        name = without_arguments(demangled)
        return next((f for f in listed if name == f or name.endswith(" " + f)), None)


@functools.lru_cache(None)
def without_arguments(demangled):
    """`void a::b<int>::c(int)` -> `void a::b::c`, so that one line covers every instantiation."""
    out, depth = [], 0
    for i, c in enumerate(demangled):
        if c == "<" and not demangled.endswith("operator", 0, i):
            depth += 1
        elif c == ">" and depth:
            depth -= 1
        elif depth == 0:
            if c == "(" and not demangled.startswith("(anonymous", i):
                break
            out.append(c)
    return "".join(out)


class Function:
    def __init__(self, name):
        self.name = name
        self.targets = []  # (name, is it a plain call)
        self.indirect = []
        self.thread_local = []


def run(command):
    environment = dict(os.environ, LC_ALL="C")
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def read_symbols(path):
    """Functions by section (relocations name local ones that way), the names of all data, and the other names of
    functions that have several (the complete and the base constructor)."""
    sections, data, at = {}, set(), {}
    for symbol in filter(None, map(SYMBOL.match, run(["objdump", "-t", "-w", path]).stdout.splitlines())):
        address, flags, section, name = symbol.groups()
        if flags[6] == "F" and section != "*UND*":
            sections.setdefault(section, []).append(name)
            at.setdefault((section, address), []).append(name)
        elif section != "*UND*":
            data.add(name)
    return sections, data, [names for names in at.values() if len(names) > 1]


def read_functions(path, sections, aliases):
    functions, current = {}, None
    for line in run(["objdump", "-d", "-r", "-w", "--no-show-raw-insn", path]).stdout.splitlines():
        heading = FUNCTION.match(line)
        if heading:
            current = functions.setdefault(heading[1], Function(heading[1]))
        elif current is not None:
            relocations = RELOCATION.findall(line)
            instruction = INSTRUCTION.match(line)
            if instruction:
                note_instruction(current, instruction[1], relocations)
            for kind, symbol in relocations:
                note_relocation(current, kind, ADDEND.sub("", symbol), sections)
    for names in aliases:
        known = next((functions[name] for name in names if name in functions), None)
        for name in names:
            if known and name not in functions:
                functions[name] = Function(name)
                functions[name].targets.append(known.name)
    return functions


def note_instruction(function, text, relocations):
    code = text.split(" #")[0].strip()
    if TLS_OPERAND.search(code):
        function.thread_local.append(code)
    if INDIRECT.match(code) and not any(THROUGH_GOT.search(kind) for kind, _ in relocations):
        function.indirect.append(code)
    # A call inside the section: no relocation, the name stands in the text.
    local = re.match(r"^(?:call|jmp|j\w+|bl?|b\.\w+|cbn?z|tbn?z)\b.*<([^>+]+)(?:\+0x[0-9a-f]+)?>$", code)
    if local and local[1] != function.name and not relocations:
        function.targets.append(local[1])


def note_relocation(function, kind, name, sections):
    if TLS.search(kind):
        function.thread_local.append(f"{kind} {name}")
    elif name in sections:
        function.targets.extend(n for n in sections[name] if n != function.name)
    elif not name.startswith(".") and name not in NOT_CALLED:
        function.targets.append(name)


def demangle(names):
    names = list(names)
    out = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True).stdout.splitlines()
    return dict(zip(names, out))


def check_object(path, allowed):
    """Returns (number of handlers, functions walked, names that leave, listed names that were met, findings)."""
    sections, data, aliases = read_symbols(path)
    functions = read_functions(path, sections, aliases)
    pretty = demangle(set(functions) | {t for f in functions.values() for t in f.targets})
    met = {name: allowed.among(allowed.root, pretty[name]) for name in functions}
    roots = [n for n in functions if met[n] or IN_SIGNAL.match(n) or ARRIVAL.search(pretty[n])]
    parent, queue, leaves, findings = {n: None for n in roots}, list(roots), set(), []
    used = set(filter(None, met.values()))

    def found(name, what):
        path_there = []
        while name is not None:
            path_there.append(pretty.get(name, name))
            name = parent[name]
        findings.append(what + "".join("\n      from " + step for step in path_there))

    while queue:
        function = functions[queue.pop(0)]
        for code in function.thread_local:
            found(function.name, f"thread-local storage: {code}")
        if function.indirect:
            listed = allowed.among(allowed.indirect, pretty[function.name])
            used.add(listed)
            if listed is None:
                found(function.name, f"indirect call, not listed: {function.indirect[0]}")
        for target in dict.fromkeys(function.targets):
            if target in NEVER:
                found(function.name, f"calls {target}: {NEVER[target]}")
            elif target in functions:
                if target not in parent:
                    parent[target] = function.name
                    queue.append(target)
            elif target not in data:
                leaves.add(target)
                used.add(target)
                if target not in allowed.call:
                    found(function.name, f"calls {pretty[target]} ({target}), not on the list")
    if not roots:
        findings.append("no handler found in the object: nothing was checked")
    return len(roots), len(parent), leaves, used, findings


def compile_unit(compiler, unit, include, way, folder):
    target = os.path.join(folder, pathlib.Path(unit).stem + "_".join(way) + ".o")
    flags = COMMON + way + ([f"-I{include}"] if include else [])
    done = run([compiler, *flags, unit, "-o", target])
    if done.returncode != 0:
        sys.exit(f"{compiler} {' '.join(flags)} {unit} failed:\n{done.stderr}")
    return target


def write_unit_of_headers(include, folder):
    """A unit that includes every header of in_signal/ for this machine and uses none."""
    machine = os.uname().machine
    text = ""
    for path in sorted(pathlib.Path(include).glob("tocsin/in_signal/*.hpp")):
        other = re.search(r"_(x86_64|aarch64)$", path.stem)
        if other is None or other[1] == machine:
            text += f"#include <tocsin/in_signal/{path.name}>\n"
    unit = os.path.join(folder, "headers.cpp")
    pathlib.Path(unit).write_text(text)
    return unit


def check_unit(compiler, unit, include, allowed, folder):
    failed, all_used = False, set()
    jobs = [(unit, way) for way in WAYS]
    # GCC can keep every inline function that a header defines: what the unit forgot to use is checked as well.
    if "clang" not in run([compiler, "--version"]).stdout:
        headers = write_unit_of_headers(include, folder)
        jobs += [(headers, ["-fkeep-inline-functions", *way]) for way in WAYS[:2]]
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(lambda job: compile_unit(compiler, job[0], include, job[1], folder), jobs))
        checked = list(pool.map(lambda path: check_object(path, allowed), objects))
    for (of, way), (handlers, walked, leaves, used, findings) in zip(jobs, checked):
        all_used |= used
        if of == unit:
            findings += [f"the root {name} is not in the object" for name in allowed.root if name not in used]
        print(f"{compiler} {' '.join(way)} {pathlib.Path(of).name}: {handlers} handler functions, {walked} walked, "
              f"calls out: {' '.join(sorted(leaves)) or 'none'}")
        for finding in findings[:20]:
            print("  refused: " + finding)
        if len(findings) > 20:
            print(f"  and {len(findings) - 20} more")
        failed |= bool(findings)
    for name in sorted({*allowed.call, *allowed.indirect} - all_used):
        print(f"note: {name} is listed and was not needed by {compiler}")
    return failed


def self_test(compiler, samples, allowed, folder):
    failed = False
    units = sorted(pathlib.Path(samples).glob("*.cpp"))
    if not units:
        sys.exit(f"no samples in {samples}")
    jobs = [(unit, way) for unit in units for way in SELF_TEST_WAYS]
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(lambda job: compile_unit(compiler, job[0], None, job[1], folder), jobs))
    for (unit, way), path in zip(jobs, objects):
        wanted = unit.read_text().splitlines()[0].removeprefix("// refused: ")
        *_, findings = check_object(path, allowed)
        ok = not findings if wanted == "// accepted" else any(wanted in finding for finding in findings)
        print(f"{'ok  ' if ok else 'FAIL'} {compiler} {' '.join(way)} {unit.name}: {wanted}")
        if not ok:
            print("  it said: " + ("\n  ".join(findings) or "nothing"))
        failed |= not ok
    return failed


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--include")
    options.add_argument("--allow", required=True)
    options.add_argument("--self-test")
    options.add_argument("compiler")
    options.add_argument("unit", nargs="?")
    given = options.parse_args()
    for tool in (given.compiler, "objdump", "c++filt"):
        if shutil.which(tool) is None:
            print(f"skipped: {tool} is not installed")
            return 77
    allowed = Allowed(given.allow)
    with tempfile.TemporaryDirectory() as folder:
        if given.self_test:
            return self_test(given.compiler, given.self_test, allowed, folder)
        return check_unit(given.compiler, given.unit, given.include, allowed, folder)


if __name__ == "__main__":
    sys.exit(main())
