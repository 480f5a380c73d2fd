#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The fault matrix: one program crashes in many ways, built in several, and each crash has to be reported.

    matrix.py --include DIR --victim FILE --library FILE [--only SCENARIO]... BUILD...

For each scenario: the report is complete, the function that crashed comes first (by name, or by an address in it where
the program has no names), the stack leads on to its callers, the threads that stood by are in it, the process ends as
it would have without a report, and all of it takes less than three seconds.

Exits with 77 (skipped) where a build's compiler or its libraries are not installed.
"""

import argparse
import bisect
import ctypes
import fcntl
import os
import pathlib
import platform
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

SKIPPED = 77
SECONDS = 3.0     # from the start of the program, or from the signal that is sent to it, to its end
PATIENCE = 20.0   # after that it hangs
TGKILL = {"x86_64": 234, "aarch64": 131}
libc = ctypes.CDLL(None, use_errno=True)

OMIT, KEEP = "-fomit-frame-pointer", "-fno-omit-frame-pointer"
# Every compiler with every optimisation with and without frame pointers, and how it is linked spread over them.
BUILDS = {
    "g++-O0": ["g++", "-O0", OMIT],
    "g++-O0-frames-stripped": ["g++", "-O0", KEEP, "stripped"],
    "g++-O2-static": ["g++", "-O2", OMIT, "static"],
    "g++-O2-frames": ["g++", "-O2", KEEP],
    "clang++-O0-stripped": ["clang++", "-O0", OMIT, "stripped"],
    "clang++-O0-frames": ["clang++", "-O0", KEEP],
    "clang++-O2": ["clang++", "-O2", OMIT],
    "clang++-O2-frames-stripped": ["clang++", "-O2", KEEP, "stripped"],
}
STATIC = ["-static", "-Wl,--eh-frame-hdr", "-DVICTIM_STATIC"]


class Skip(Exception):
    pass


# --- What is expected --------------------------------------------------------------------------------------

FAULTS = "tocsin::testing::faults::"
FIRST, SECOND, EITHER = (0,), (1,), (0, 1)
BELOW = ()  # below the C library's frames, such as abort's


@dataclass
class Expected:
    """What has to become of a scenario. `frames` are the numbers that the function may have in its stack."""
    signal: int = signal.SIGSEGV      # 0: it exits with 0, because the crash was a child's
    function: str = FAULTS + "write_null"
    frames: tuple = FIRST
    callers: list = field(default_factory=list)   # further functions of the stack, in this order, not all of them
    threads: int = 3                  # main and the two that stand by
    crashed: int = 1                  # threads that are said to have, or stand where they did; None: all may
    says: list = field(default_factory=list)      # in the report
    heads: str = ""                   # in a line of the report that is no frame
    out: str = ""                     # on standard output
    reports: int = 1                  # None: one or none
    stderr: str = "read"              # "read", "full" or "broken"
    send: str = ""                    # what the driver does once the program is ready
    needs: str = ""                   # "library" or "file": the argument of the scenario
    others: bool = True               # the threads that stand by are in the report
    signals: tuple = ()               # where there is more than one


HIDDEN_CALL = {"execute_null": SECOND, "execute_wild": SECOND, "execute_heap": SECOND, "execute_non_canonical": EITHER}
IN_LIBC = {"abort", "pure_virtual_call", "double_free", "uncaught_exception"}


def expected_of_fault(name, number):
    frames = BELOW if name in IN_LIBC else HIDDEN_CALL.get(name, FIRST)
    expected = Expected(number, FAULTS + name, frames, ["main"])
    if name == "stack_overflow":
        expected.heads, expected.says = "overflow", ["more frames"]
    else:
        expected.callers = ["tocsin::testing::raise_fault", "victim::crash", "main"]
    return expected


def in_main(*functions, **more):
    return Expected(callers=["victim::write_null", *("victim::" + name for name in functions), "main"], **more)


def in_thread(*functions, **more):
    return Expected(callers=["victim::write_null", *("victim::" + name for name in functions)], **more)


SENT = dict(function="victim::sleeps", frames=BELOW, crashed=None)
SCENARIOS = {
    "assertion": Expected(signal.SIGABRT, "victim::assertion", BELOW, ["victim::crash", "main"]),
    "terminate_in_catch": Expected(signal.SIGABRT, "victim::terminate_in_catch", BELOW, ["victim::crash", "main"]),
    "in_another_handler": in_main("plain_handler", "in_another_handler"),
    "on_the_alternate_stack": in_main("reaction", "on_the_alternate_stack"),
    # the kernel starts again at the top of it, or finds no room and ends the process: sigaltstack(2)
    "overflow_of_the_alternate_stack": Expected(function=FAULTS + "stack_overflow", reports=None),
    "forked_child": in_main("forked_child", signal=0, threads=1, out="the child died of 11", others=False),
    "vforked_child": in_main("vforked_child", signal=0, threads=1, out="the child died of 11", others=False),
    "after_a_vforked_child": Expected(signal.SIGILL, FAULTS + "illegal_instruction", FIRST,
                                      ["victim::after_a_vforked_child", "main"], reports=2, out="the child died of 11"),
    "heap_locked": Expected(function="victim::heap_locked", frames=BELOW, callers=["victim::crash", "main"],
                            says=["malloc"], signals=(signal.SIGSEGV, signal.SIGABRT)),
    "corrupt_heap": Expected(signal.SIGABRT, "victim::corrupt_heap", BELOW, ["victim::crash", "main"],
                             says=["free"]),
    "heap_locked_by_another": in_main("heap_locked_by_another", threads=4),
    "stdio_locked": in_main("stdio_locked", threads=4),
    "loader_locked": in_main("crashing_visitor", "loader_locked", says=["dl_iterate_phdr"]),
    "loader_locked_by_another": in_main("loader_locked_by_another", threads=4, says=["dl_iterate_phdr"]),
    "in_a_library_constructor": Expected(callers=["victim::crash_in_constructor", "victim::in_a_library_constructor",
                                                  "main"], needs="library"),
    "in_an_unloaded_library": Expected(function="victim::in_an_unloaded_library", frames=SECOND,
                                       callers=["victim::crash", "main"], needs="library"),
    "in_atexit": in_main("at_exit", "in_atexit"),
    "in_static_destruction": in_main("crashes_at_the_end::~crashes_at_the_end", "in_static_destruction"),
    "small_stack": in_thread("on_small_stack", threads=4),
    "overflow_of_a_worker": Expected(function=FAULTS + "stack_overflow", callers=["victim::overflows"], threads=4,
                                     heads="overflow", says=["more frames"]),
    "deep": in_main("descends", says=["more frames"]),
    "eight_at_once": in_thread("one_of_eight", threads=11, crashed=8),
    "sent_by_kill": Expected(**SENT, callers=["victim::is_told", "main"], send="kill"),
    "sent_by_sigqueue": Expected(**SENT, callers=["victim::is_told", "main"], send="sigqueue"),
    "sent_by_tgkill": Expected(**SENT, callers=["victim::waits_for_signal"], send="tgkill", threads=4),
    "stderr_closed": in_main("stderr_closed"),
    "stderr_taken": in_main("stderr_taken", needs="file"),
    "stderr_broken": Expected(stderr="broken", reports=0),
    "stderr_full": Expected(stderr="full", reports=0),
}
WORDS = {"sent_by_kill": "is_told", "sent_by_sigqueue": "is_told", "sent_by_tgkill": "thread_is_told",
         "stderr_broken": "write_null", "stderr_full": "write_null"}
NEEDS_LIBRARIES = {"in_a_library_constructor", "in_an_unloaded_library"}


# --- Building ----------------------------------------------------------------------------------------------

class Build:
    """A victim and its library, built in one way, and what the functions of the victim are called."""

    def __init__(self, name, given, folder):
        self.name, (self.compiler, *flags) = name, BUILDS[name]
        self.folder = folder
        if shutil.which(self.compiler) is None:
            raise Skip(f"{self.compiler} is not installed")
        self.stripped, self.static = "stripped" in flags, "static" in flags
        flags = [flag for flag in flags if flag.startswith("-")]
        flags += ["-std=c++20", f"-I{os.path.abspath(given.include)}", "-pthread"]
        if self.static and self.run([self.compiler, "-static", "-x", "c++", "-", "-o", folder / "probe"],
                                    input="int main() {}\n").returncode != 0:
            raise Skip("static libraries are not installed")
        named, self.library = folder / "victim-with-names", folder / "library.so"
        self.compile(named, *flags, *(STATIC if self.static else []), given.victim)
        if not self.static:
            self.compile(self.library, *flags, "-fPIC", "-shared", given.library)
        self.victim = named
        if self.stripped:
            self.victim = folder / "victim"
            subprocess.run(["strip", "-o", self.victim, named], check=True)
            subprocess.run(["strip", self.library], check=True)
        self.read_names(named)

    def run(self, command, **how):
        return subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, LC_ALL="C"), **how)

    def compile(self, target, *words):
        done = self.run([self.compiler, *words, "-o", target])
        if done.returncode != 0:
            sys.exit(f"{self.name}: {target.name} does not compile\n{done.stderr[:4000]}")

    def read_names(self, program):
        listed = self.run(["nm", "-nC", "--defined-only", program], check=True).stdout
        found = re.findall(r"^([0-9a-f]+) [TtWwVvi] (.*)$", listed, re.M)
        self.starts, self.functions = [int(at, 16) for at, _ in found], [name for _, name in found]

    def function_at(self, offset):
        at = bisect.bisect_right(self.starts, offset)
        return self.functions[at - 1] if at else ""

    def faults(self):
        listed = self.run([self.victim, "--faults"], check=True).stdout
        return {name: int(number) for name, number in (line.split() for line in listed.splitlines())}

    def scenarios(self):
        table = {"fault:" + name: expected_of_fault(name, number) for name, number in self.faults().items()}
        table.update(SCENARIOS)
        return {name: each for name, each in table.items() if not (self.static and name in NEEDS_LIBRARIES)}


# --- Running -----------------------------------------------------------------------------------------------

@dataclass
class Ended:
    status: int = 0
    out: str = ""
    report: str = ""
    seconds: float = 0.0
    hung: bool = False
    file: str = ""


def full_pipe():
    """The two ends of a pipe that takes no more, although nobody has closed it."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETFL, os.O_NONBLOCK)
    try:
        while True:
            os.write(writer, bytes(4096))
    except BlockingIOError:
        fcntl.fcntl(writer, fcntl.F_SETFL, 0)
    return reader, writer


def send(how, process, target):
    if how == "kill":
        os.kill(process.pid, signal.SIGSEGV)
    elif how == "sigqueue":
        libc.sigqueue(process.pid, int(signal.SIGSEGV), ctypes.c_void_p(4711))
    else:
        libc.syscall(TGKILL[platform.machine()], process.pid, target, int(signal.SIGSEGV))


def until_asleep(process, thread):
    """Its line was written before it began to wait."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if pathlib.Path(f"/proc/{process}/task/{thread}/stat").read_text().rpartition(")")[2].split()[0] == "S":
            return
        os.sched_yield()


def first_line(stream):
    ready, _, _ = select.select([stream], [], [], PATIENCE)
    return stream.readline().decode() if ready else ""


def run(build, name, expected, folder):
    """Runs one scenario to its end."""
    ended = Ended()
    words, opened = [build.victim, WORDS.get(name, name)], []
    kept = folder / "file"
    if expected.needs == "file":
        kept.write_text("untouched\n")
    words += {"library": [build.library], "file": [kept]}.get(expected.needs, [])
    stderr = subprocess.PIPE
    if expected.stderr == "full":
        reader, stderr = full_pipe()
        opened = [reader, stderr]
    elif expected.stderr == "broken":
        reader, stderr = os.pipe()
        os.close(reader)
        opened = [stderr]
    began = time.monotonic()
    process = subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr)
    line = ""
    if expected.send:
        line = first_line(process.stdout)
        if line.startswith("ready "):
            until_asleep(process.pid, int(line.split()[1]))
            began = time.monotonic()
            send(expected.send, process, int(line.split()[1]))
    try:
        out, report = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        out, report = process.communicate()
        ended.hung = True
    ended.seconds = time.monotonic() - began
    for fd in opened:
        os.close(fd)
    ended.status, ended.out = process.returncode, line + out.decode(errors="replace")
    ended.report = (report or b"").decode(errors="replace")
    ended.file = kept.read_text() if expected.needs == "file" else ""
    return ended


# --- Reading the report ------------------------------------------------------------------------------------

FRAME = re.compile(r"^  #(\d+) 0x([0-9a-f]+)(?: (?!in )(.+?)\+0x[0-9a-f]+)?(?: in (.+)\+0x([0-9a-f]+))?$")


@dataclass
class Frame:
    number: int
    said: str        # the name that the report gives; empty if it gives none
    function: str    # the same, or what the program with names calls the place
    line: str


@dataclass
class Stack:
    head: str
    frames: list


def frame_of(line, build, problems):
    match = FRAME.match(line)
    if match is None:
        problems.append(f"a line that is no frame: {line}")
        return None
    number, said, module, offset = int(match[1]), match[3] or "", match[4] or "", match[5]
    function = said
    if module in ("the program", str(build.victim)):  # the latter where it has no names of its own
        # A return address stands behind its call, perhaps at the start of another function.
        true = {build.function_at(int(offset, 16)), build.function_at(int(offset, 16) - 1)}
        own = {name for name in true if is_own(name)}
        if own and said and not any(same(said, name) for name in own):
            problems.append(f"a wrong name for {' or '.join(own)}: {line}")
        if own and not said:
            function = build.function_at(int(offset, 16) - (1 if number > 0 else 0))
            if not build.stripped:
                problems.append(f"no name for {function}: {line}")
    return Frame(number, said, function, line)


def is_own(name):
    return name == "main" or name.startswith(("victim::", "tocsin::testing::"))


def base(name):
    return name.split("(")[0]


def same(left, right):
    return base(left).split("[")[0].strip() == base(right).split("[")[0].strip()


def stacks_of(report, build, problems):
    stacks = []
    for line in report.splitlines():
        if line.startswith("thread "):
            stacks.append(Stack(line, []))
        elif line.startswith("  #") and stacks:
            frame = frame_of(line, build, problems)
            if frame:
                stacks[-1].frames.append(frame)
    return stacks


def check_first(stack, expected, problems):
    """The function that crashed, in its place, and then its callers."""
    functions = [base(frame.function) for frame in stack.frames]
    own = [at for at, name in enumerate(functions)
           if is_own(name) and not name.startswith("tocsin::testing::detail::")]
    wanted = expected.function
    where = functions.index(wanted) if wanted in functions else None
    if where is None:
        problems.append(f"{wanted} is not in the stack")
    elif expected.frames and stack.frames[where].number not in expected.frames:
        problems.append(f"{wanted} is frame #{stack.frames[where].number}, not {expected.frames}")
    elif expected.frames == BELOW and where != own[0]:
        problems.append(f"{functions[own[0]]} comes before {wanted}")
    at = where or 0
    for caller in expected.callers:
        if caller not in functions[at:]:
            problems.append(f"{caller} is missing behind {functions[at] if functions else 'nothing'}")
        else:
            at = functions.index(caller, at)


def check_report(ended, expected, build):
    problems = []
    reports = re.split(r"^(?=tocsin: SIG)", ended.report, flags=re.M)[1:]
    complete = re.findall(r"^tocsin: end of report, (\d+) threads?$", ended.report, re.M)
    if len(complete) != len(reports) or expected.reports not in (None, len(reports)):
        problems.append(f"{len(reports)} reports, {len(complete)} of them complete, not {expected.reports or 1}")
    if not complete or not reports:
        return problems
    if int(complete[-1]) != expected.threads:
        problems.append(f"{complete[-1]} threads, not {expected.threads}")
    stacks = stacks_of(reports[-1], build, problems)
    if not stacks or ", where it happened" not in stacks[0].head:
        return problems + ["the first stack is not where it happened"]
    check_first(stacks[0], expected, problems)
    if expected.others:
        for function in ("victim::waits", "victim::runs_on"):
            if not any(base(frame.function) == function for stack in stacks for frame in stack.frames):
                problems.append(f"{function} is in no stack")
    crashed = sum("crashed too" in stack.head or expected.function in [base(frame.function) for frame in stack.frames]
                  for stack in stacks)
    if expected.crashed not in (None, crashed):
        problems.append(f"{crashed} threads are said to have crashed, not {expected.crashed}")
    for text in expected.says:
        if text not in reports[-1]:
            problems.append(f"'{text}' is not in the report")
    if not any(expected.heads in line for line in reports[-1].splitlines() if not line.startswith("  #")):
        problems.append(f"it is not called '{expected.heads}'")
    if expected.send and f"sent by process {os.getpid()} " not in reports[-1]:
        problems.append("it does not say who sent it")
    return problems


def check(build, name, expected, folder):
    """One scenario: what is wrong with it, and what it said."""
    folder.mkdir()
    ended = run(build, name, expected, folder)
    problems = []
    if ended.hung:
        problems.append(f"hangs: killed after {PATIENCE:.0f} s")
    elif ended.seconds > SECONDS:
        problems.append(f"took {ended.seconds:.2f} s")
    allowed = expected.signals or (expected.signal,)
    if not ended.hung and -ended.status not in allowed:
        problems.append(f"ended with status {ended.status}, not {' or '.join(str(-int(each)) for each in allowed)}")
    if expected.out not in ended.out:
        problems.append(f"standard output is '{ended.out.strip()}', not '{expected.out}'")
    if ended.file != ("untouched\n" if expected.needs == "file" else ""):
        problems.append(f"{len(ended.file)} bytes in a file of the program")
    if expected.stderr == "read":
        problems += check_report(ended, expected, build)
    if problems:
        lines = (ended.out + ended.report).splitlines()
        shown = lines if len(lines) < 60 else lines[:40] + [f"… {len(lines) - 50} lines …"] + lines[-10:]
        problems.append("it said:\n    " + "\n    ".join(shown))
    return problems


def check_build(name, given, folder):
    folder.mkdir()
    began = time.monotonic()
    build = Build(name, given, folder)
    built = time.monotonic()
    scenarios = {each: expected for each, expected in build.scenarios().items() if not given.only or each in given.only}
    if not scenarios:
        sys.exit("no such scenario: nothing was checked")
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda item: check(build, *item, folder / item[0].replace(":", "-")), scenarios.items())
        failed = 0
        for scenario, problems in zip(scenarios, found):
            failed += bool(problems)
            for problem in problems:
                print(f"{name}, {scenario}: {problem}")
    print(f"{name}: built in {built - began:.1f} s; {len(scenarios)} scenarios in {time.monotonic() - built:.1f} s, "
          f"{failed} failed", flush=True)
    return failed


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--include", required=True)
    arguments.add_argument("--victim", required=True)
    arguments.add_argument("--library", required=True)
    arguments.add_argument("--only", action="append", default=[])
    arguments.add_argument("build", nargs="*", default=list(BUILDS), metavar="BUILD")
    given = arguments.parse_args()
    unknown = set(given.build) - set(BUILDS)
    if unknown:
        arguments.error(f"no such build: {', '.join(unknown)}; known are {', '.join(BUILDS)}")
    failed, skipped = 0, 0
    with tempfile.TemporaryDirectory(prefix="tocsin-matrix-") as folder:
        for name in given.build:
            try:
                failed += check_build(name, given, pathlib.Path(folder) / name)
            except Skip as reason:
                skipped += 1
                print(f"skipped {name}: {reason}")
    return 1 if failed else SKIPPED if skipped else 0


if __name__ == "__main__":
    sys.exit(main())
