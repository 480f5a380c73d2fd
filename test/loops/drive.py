#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Signals an event loop from other processes: none is lost, none is seen twice, and nothing is left behind.

    drive.py PROGRAM [WORD…]      one of examples/loops, as built
    drive.py --absent PACKAGE     says that it was not built, and why

Exits with 77 (skipped) where the program says that it cannot run here.
"""

import ctypes
import os
import re
import select
import signal
import subprocess
import sys
import time

SKIPPED = 77
PATIENCE = 60  # seconds for everything; a stall is one that never ends
ROUNDS = 200
SENDERS = 2
VALUES = 3000  # of each sender; more than a guard records, so that the rest waits in the kernel
BURST = 20_000
QUEUED = signal.SIGRTMIN + 1

libc = ctypes.CDLL(None, use_errno=True)


class Value(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("pointer", ctypes.c_void_p)]


libc.sigqueue.argtypes = [ctypes.c_int, ctypes.c_int, Value]


def queue(pid, number, value):
    """sigqueue(3), again while the kernel's queue is full."""
    word = Value()
    word.number = value
    while libc.sigqueue(pid, number, word) != 0:
        if ctypes.get_errno() != 11:  # EAGAIN
            sys.exit(f"sigqueue: {os.strerror(ctypes.get_errno())}")
        time.sleep(0)


class Program:
    """The loop under test, and the lines that it says."""

    def __init__(self, words):
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, bufsize=0)
        self.text = b""
        self.lines = []
        self.end = time.monotonic() + PATIENCE

    def read(self):
        """One more piece of output. False at its end."""
        left = self.end - time.monotonic()
        if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
            self.process.kill()
            sys.exit(f"nothing was said for too long after {self.lines[-3:]}: a signal was lost")
        got = os.read(self.process.stdout.fileno(), 65536)
        *whole, self.text = (self.text + got).split(b"\n")
        self.lines += [line.decode() for line in whole]
        return bool(got)

    def expect(self, line):
        """Waits until the program says a line that is this one, or begins with it and a space."""
        at = 0
        while True:
            while at < len(self.lines):
                if self.lines[at] == line or self.lines[at].startswith(line + " "):
                    del self.lines[: at + 1]
                    return
                at += 1
            if not self.read():
                self.ended(line)

    def ended(self, line):
        code = self.process.wait()
        if code == SKIPPED:
            print("\n".join(self.lines))
            sys.exit(SKIPPED)
        sys.exit(f"ended with {code} before it said '{line}': {self.lines}")

    def send(self, number):
        os.kill(self.process.pid, number)


def start_senders(pid):
    started = []
    for sender in range(SENDERS):
        child = os.fork()
        if child == 0:
            for i in range(VALUES):
                queue(pid, QUEUED, sender << 20 | i)
            os._exit(0)
        started.append(child)
    return started


def one_by_one(program):
    """Standard signals merge while one is pending; sent one after the other, every one of them counts once."""
    for count in range(1, ROUNDS + 1):
        program.send(signal.SIGUSR1)
        program.expect(f"SIGUSR1 {count}")
        program.send(signal.SIGCHLD)
        program.expect(f"SIGCHLD {count}")


def values(program):
    for sender in start_senders(program.process.pid):
        if os.waitpid(sender, 0)[1] != 0:
            sys.exit("a sender has failed")
    program.expect(f"values {SENDERS * VALUES}")


def burst(program):
    """A flood of one signal, and behind it one of another, which no flood may push out."""
    for _ in range(BURST):
        program.send(signal.SIGUSR1)
    program.send(signal.SIGCHLD)
    program.expect(f"SIGCHLD {ROUNDS + 1}")


def main():
    if sys.argv[1] == "--absent":
        print(f"skipped: {sys.argv[2]} is not installed")
        return SKIPPED
    program = Program(sys.argv[1:])
    program.expect("ready")
    one_by_one(program)
    values(program)
    burst(program)
    program.send(signal.SIGTERM)
    program.expect("SIGTERM 1")
    while program.read():
        pass
    code = program.process.wait()
    said = "\n".join(program.lines)
    problems = [] if code == 0 else [f"ended with {code}"]
    report = re.search(r"SIGUSR1 (\d+), SIGCHLD (\d+), SIGTERM (\d+), values (\d+), (.*)", said)
    if report is None:
        problems.append("no report")
    else:
        usr1, others, order = int(report[1]), [int(n) for n in report.groups()[1:4]], report[5]
        if not ROUNDS < usr1 <= ROUNDS + BURST:
            problems.append(f"{usr1} times SIGUSR1 is none of {ROUNDS + 1} to {ROUNDS + BURST}")
        if others != [ROUNDS + 1, 1, SENDERS * VALUES] or order != "in order":
            problems.append(f"counted {report[0]}")
    for line in ("the loop is gone, the guard is not", "dispositions are back", "descriptors are closed"):
        if line not in program.lines:
            problems.append(f"does not say '{line}'")
    print(said, *problems, sep="\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
