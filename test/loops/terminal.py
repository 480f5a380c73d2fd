#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the terminal program on a terminal of its own, as a shell would.

    terminal.py PROGRAM

It draws, follows the size, is stopped by Ctrl-Z with the terminal as it was, goes on with it taken again, survives a
SIGSTOP that it cannot catch, and ends by Ctrl-C with the terminal as it was.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

PATIENCE = 30


def size(fd, columns, lines):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


class Terminal:
    """The other end of the program's terminal, and what it has written."""

    def __init__(self, program):
        # the first process on a terminal leads its session, and a stopped leader's group is orphaned: SIGTSTP would do
        # nothing there. So a process between, as a shell is one.
        self.shell, self.fd = pty.fork()
        if self.shell == 0:
            os._exit(be_the_shell(program))
        size(self.fd, 80, 24)
        self.text = ""

    def read_until(self, pattern):
        end = time.monotonic() + PATIENCE
        while True:
            found = re.search(pattern, self.text)
            if found:
                self.text = self.text[found.end():]
                return found
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                sys.exit(f"waited in vain for {pattern!r}; there is {self.text!r}")
            try:
                self.text += os.read(self.fd, 4096).decode()
            except OSError:
                sys.exit(f"ended before {pattern!r}; there is {self.text!r}")

    def modes(self):
        """Whether lines and echo are on, as for a shell."""
        flags = termios.tcgetattr(self.fd)[3]
        return bool(flags & termios.ICANON), bool(flags & termios.ECHO)

    def press(self, key):
        os.write(self.fd, key)


def be_the_shell(program):
    """Starts the program in a group of its own in the foreground, says when it stops and how it ends."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    sys.stdin.readline()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        os.execv(program, [program])
    while True:
        _, status = os.waitpid(child, os.WUNTRACED)
        os.tcsetpgrp(0, os.getpgrp())
        if not os.WIFSTOPPED(status):
            print(f"[shell: exited {os.waitstatus_to_exitcode(status)}]", flush=True)
            return 0
        print(f"[shell: stopped {os.WSTOPSIG(status)} of {child}]", flush=True)
        sys.stdin.readline()
        os.tcsetpgrp(0, child)
        os.kill(child, signal.SIGCONT)


def main():
    terminal = Terminal(sys.argv[1])
    problems = []

    def check(what, found, expected):
        if found != expected:
            problems.append(f"{what}: {found}, not {expected}")

    terminal.press(b"go\n")
    terminal.read_until(r"80 columns, 24 lines")
    check("lines and echo while it draws", terminal.modes(), (False, False))
    size(terminal.fd, 100, 40)
    terminal.read_until(r"100 columns, 40 lines")

    terminal.press(b"\x1a")  # Ctrl-Z
    child = int(terminal.read_until(rf"1049l[^\[]*\[shell: stopped {int(signal.SIGSTOP)} of (\d+)\]")[1])
    check("lines and echo while it is stopped", terminal.modes(), (True, True))
    size(terminal.fd, 60, 20)
    terminal.press(b"fg\n")
    terminal.read_until(r"1049h")
    terminal.read_until(r"60 columns, 20 lines")
    check("lines and echo when it goes on", terminal.modes(), (False, False))

    os.kill(child, signal.SIGSTOP)  # nobody catches this one
    terminal.read_until(r"\[shell: stopped")
    terminal.press(b"fg\n")
    terminal.read_until(r"60 columns, 20 lines")
    check("lines and echo after SIGSTOP", terminal.modes(), (False, False))

    terminal.press(b"\x03")  # Ctrl-C
    terminal.read_until(r"1049l")
    terminal.read_until(r"ended")
    terminal.read_until(r"\[shell: exited 0\]")
    check("lines and echo at the end", terminal.modes(), (True, True))
    os.waitpid(terminal.shell, 0)
    print("\n".join(problems) or "the terminal was the program's while it ran, and the shell's otherwise")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
