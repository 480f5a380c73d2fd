#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Interrupts a program that embeds Python: where it computes, reads and sleeps.

    interpreter.py PROGRAM
"""

import os
import select
import signal
import subprocess
import sys
import time

PATIENCE = 60


def state(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0]


class Program:
    def __init__(self, words):
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.text = ""
        self.end = time.monotonic() + PATIENCE

    def expect(self, line):
        while line + "\n" not in self.text:
            left = self.end - time.monotonic()
            ready = left > 0 and select.select([self.process.stdout], [], [], left)[0]
            got = os.read(self.process.stdout.fileno(), 4096).decode() if ready else ""
            if not got:
                self.process.kill()
                sys.exit(f"it never said {line!r}; there is {self.text!r}")
            self.text += got
        self.text = self.text.partition(line + "\n")[2]

    def until_asleep(self):
        while state(self.process.pid) != "S":
            if time.monotonic() > self.end:
                sys.exit("it never slept")


def main():
    program = Program(sys.argv[1:])
    for what in ("computation", "read", "sleep"):
        program.expect(what)
        if what != "computation":
            program.until_asleep()
        program.process.send_signal(signal.SIGUSR1)  # the guard's, whatever Python does
        program.process.send_signal(signal.SIGINT)
        program.expect(f"KeyboardInterrupt in the {what}")
    program.expect("SIGUSR1 3")
    program.expect("Python took SIGUSR1")
    program.expect("SIGUSR1 1")
    program.expect("SIGINT is Python's again")
    program.expect("dispositions are back")
    code = program.process.wait(PATIENCE)
    print(f"interrupted in a computation, a read and a sleep; ended with {code}")
    return code


if __name__ == "__main__":
    sys.exit(main())
