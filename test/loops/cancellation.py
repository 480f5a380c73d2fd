#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Gives a program's worker something to do, and then ends it by SIGTERM while it sleeps.

    cancellation.py PROGRAM
"""

import signal
import subprocess
import sys

JOBS = 100


def main():
    program = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
    said = program.stdout.readline()
    if said.startswith("skipped"):
        print(said)
        return program.wait(60)
    for _ in range(JOBS):
        program.send_signal(signal.SIGUSR1)
    program.send_signal(signal.SIGTERM)
    rest, _ = program.communicate(timeout=60)
    lines = rest.splitlines()
    worked = lines.count("worked for SIGUSR1")
    print(*lines[-1:], sep="\n")
    if program.returncode != 0 or lines[-1] != f"stopped after {worked}":
        sys.exit(f"ended with {program.returncode}: {lines}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
