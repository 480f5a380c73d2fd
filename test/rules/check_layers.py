#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The rules of the source tree that need no compiler: who may include whom, and what every file looks like.

    check_layers.py ROOT

An arrow of the layers never points back, and siblings never include each other:

    floor  <-  in_signal/  <-  posix/  <-  on.hpp  <-  triggers and reactions
                                           on.hpp  <-  guard.hpp and its parts         tocsin.hpp includes the front room

And no header includes itself by way of others.
"""

import pathlib
import re
import sys

# The floor lies in the front folder, because users write these names.
FLOOR = {"signal.hpp", "signal_set.hpp", "delivery.hpp", "duration.hpp", "error.hpp", "failure.hpp", "libc_functions.hpp",
         "traits.hpp",
         "waited_signal.hpp"}
# The composition, which knows reactions only by concept.
GUARD = {"guard.hpp", "guard_state.hpp", "claimed_once.hpp", "row_claim.hpp", "row_program.hpp",
         "row_words.hpp"}
# Whole sentences made of other headers' words: between those and the umbrella.
COMPOSED = {"environment.hpp", "fatal.hpp", "forms.hpp", "watchdogs.hpp"}

# What code that runs in a handler may include: freestanding headers and declarations of the kernel's interface.
# What cannot be included cannot be called.
HANDLER_HEADERS = {
    "cstddef", "cstdint", "type_traits", "cerrno", "errno.h", "signal.h", "ucontext.h", "fcntl.h", "elf.h", "link.h",
    "dlfcn.h", "unistd.h", "time.h", "poll.h", "sys/types.h", "sys/syscall.h", "sys/mman.h", "sys/stat.h",
    "sys/auxv.h", "sys/uio.h", "linux/futex.h",
}
# Thousands of lines each, in every unit that includes a tocsin header; an opt-in header that needs one says so here.
DEAR = {
    "algorithm", "any", "array", "atomic", "bitset", "chrono", "condition_variable", "deque", "filesystem", "format",
    "forward_list", "fstream", "functional", "future", "iomanip", "iostream", "istream", "iterator", "list", "locale",
    "map", "memory", "memory_resource", "mutex", "optional", "ostream", "queue", "random", "ranges", "regex", "set",
    "shared_mutex", "span", "sstream", "stack", "stop_token", "streambuf", "string", "string_view", "system_error",
    "thread", "tuple", "unordered_map", "unordered_set", "variant", "vector",
}
DEAR_ALLOWED = {
    "stop.hpp": {"stop_token"},
    "tocsin.hpp": {"chrono"},
    "wait_stop.hpp": {"stop_token"},
    "awaitable.hpp": {"coroutine"},
    "last_words.hpp": {"exception", "typeinfo"},
}
# Besides HANDLER_HEADERS, on the floor where handlers do not look.
FLOOR_EXTRA = {"error.hpp": {"new"}}

MAX_HEADER_LINES = 400
MAX_COLUMNS = 120  # .clang-format breaks at 110; this is for what it cannot break
FORBIDDEN = [
    (re.compile(r"\b(TODO|XXX|FIXME)\b"), "an unfinished note"),
    (re.compile(r"\b20\d\d-[01]\d\b"), "a date; history belongs to commits"),
]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
# An object (not a number, which is folded) whose symbol every shared object would export as unique to the process, and
# so could never be unmapped again (dlopen(3), STB_GNU_UNIQUE).
EXPORTED = re.compile(r"^(?!.*hidden)(?:inline|\s+static) (?:constexpr|constinit|const) [\w:<>, *]+ "
                      r"\w+(?:\[[^\]]*\])*\s*(?:= ?)?\{")
NAMESPACE = re.compile(r"^namespace ([\w:]+)")
SPDX = "SPDX-License-Identifier: MIT"
CODE = {".hpp", ".cpp", ".ipp", ".in", ".h", ".c"}
SCRIPTS = {".py", ".sh", ".build"}

problems = []


def problem(path, line, text):
    problems.append(f"{path}:{line}: {text}")


def layer(name):
    """The layer of a path below include/tocsin."""
    if "/" in name:
        folder = name.split("/")[0]
        return folder if folder in ("in_signal", "posix") else None
    if name in FLOOR:
        return "floor"
    if name in GUARD:
        return "guard"
    if name in COMPOSED:
        return "composed"
    return {"on.hpp": "on", "tocsin.hpp": "umbrella"}.get(name, "front")


MAY_INCLUDE = {
    "floor": {"floor"},
    "in_signal": {"floor", "in_signal"},
    "posix": {"floor", "in_signal", "posix"},
    "on": {"floor", "in_signal", "posix"},
    "front": {"floor", "in_signal", "posix", "on"},
    "guard": {"floor", "in_signal", "posix", "on", "guard"},
    "composed": {"floor", "in_signal", "posix", "on", "front", "guard", "composed"},
    "umbrella": {"floor", "on", "front", "guard", "composed"},
}


def check_include(where, line, name, form, target, headers):
    own = layer(name)
    if form == '"':
        return problem(where, line, "headers are included as <tocsin/…>")
    if target.startswith("tocsin/"):
        other = target.removeprefix("tocsin/")
        if other not in headers:
            problem(where, line, f"<{target}> does not exist")
        elif layer(other) not in MAY_INCLUDE[own]:
            sibling = own == layer(other) == "front"
            why = "siblings never include each other" if sibling else f"{own} may not include {layer(other)}"
            problem(where, line, f"includes <{target}>: {why}")
        elif own == "in_signal" and other in FLOOR_EXTRA:
            problem(where, line, f"includes <{target}>, which needs more than handlers may")
        return None
    if own in ("floor", "in_signal") and target not in HANDLER_HEADERS | FLOOR_EXTRA.get(name, set()):
        problem(where, line, f"<{target}> is not on the list of headers for handlers and the floor")
    elif target in DEAR - DEAR_ALLOWED.get(name, set()):
        problem(where, line, f"<{target}> is dear; headers that every program includes do without it")
    return None


def check_header(path, root, headers):
    name = path.relative_to(root / "include/tocsin").as_posix()
    where, lines = path.relative_to(root), path.read_text().splitlines()
    if layer(name) is None:
        return problem(where, 1, "this folder is no layer; known are in_signal/ and posix/")
    if len(lines) > MAX_HEADER_LINES:
        problem(where, len(lines), f"{len(lines)} lines; a header has at most {MAX_HEADER_LINES}")
    if path.suffix == ".hpp" and "#pragma once" not in lines:
        problem(where, 1, "no #pragma once")
    for number, line in enumerate(lines, 1):
        include = INCLUDE.match(line)
        if include:
            check_include(where, number, name, include[1], include[2], headers)
        if EXPORTED.match(line):
            problem(where, number, "an object that is not [[gnu::visibility(\"hidden\")]]: dlclose would not unmap it")
        space = NAMESPACE.match(line)
        if space and layer(name) == "in_signal" and not (space[1] + "::").startswith("tocsin::in_signal::") \
                and space[1] != "detail":
            problem(where, number, f"namespace {space[1]} in in_signal/: folder and namespace are the same mark")
    return None


def check_cycles(found, include):
    """Each header in turn: what it reaches must not be itself."""
    edges = {}
    for path in found:
        targets = (match[2] for match in map(INCLUDE.match, path.read_text().splitlines()) if match)
        edges[path.relative_to(include).as_posix()] = [t.removeprefix("tocsin/") for t in targets]
    for start in edges:
        seen, queue = set(), list(edges[start])
        while queue:
            name = queue.pop()
            if name not in seen:
                seen.add(name)
                queue += edges.get(name, [])
        if start in seen:
            problem(f"include/tocsin/{start}", 1, "includes itself by way of others")


def check_text(path, root):
    """What holds for every file of the repository."""
    where, lines = path.relative_to(root), path.read_text().splitlines()
    if path.suffix in CODE | SCRIPTS:
        # A script has its interpreter first; a refusal states its error, a sample what is to be said of it.
        head = 2 if path.suffix in SCRIPTS else 1
        stated = lines and re.match(r"// (error|refused|accepted)", lines[0])
        if not stated and not any(SPDX in line for line in lines[:head]):
            problem(where, 1, f"the first line is not the licence: {SPDX}")
    for number, line in enumerate(lines, 1):
        if path.suffix in CODE and len(line) > MAX_COLUMNS:
            problem(where, number, f"{len(line)} columns; at most {MAX_COLUMNS}")
        for pattern, what in FORBIDDEN:
            if pattern.search(line) and path.resolve() != pathlib.Path(__file__).resolve():
                problem(where, number, f"{what}: {line.strip()}")


def main():
    root = pathlib.Path(sys.argv[1])
    include = root / "include/tocsin"
    found = sorted(p for p in include.rglob("*") if p.suffix in (".hpp", ".ipp"))
    headers = {p.relative_to(include).as_posix() for p in found}
    if not found:
        sys.exit(f"no headers in {include}: nothing was checked")
    for path in found:
        check_header(path, root, headers)
    check_cycles(found, include)
    texts = [p for folder in ("include", "test", "examples", "bench") for p in sorted((root / folder).rglob("*"))]
    texts += sorted((root / "packaging").rglob("*")) + sorted(root.glob("*")) + sorted((root / ".ci").glob("*"))
    for path in texts:
        if path.is_file() and not {"__pycache__", "corpus"} & set(path.parts):
            check_text(path, root)
    print("\n".join(problems) or f"{len(found)} headers in their layers")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
