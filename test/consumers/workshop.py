# SPDX-License-Identifier: MIT
"""A folder to build and run programs in, as strangers to the project do; see check_consumers.py."""

import os
import pathlib
import shutil
import subprocess

HERE = pathlib.Path(__file__).parent
HIDDEN = ["-fvisibility=hidden"]
# As the project's tests have them: the faults are the program's own.
SANITIZED = {
    "ASAN_OPTIONS": "handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:handle_abort=0:use_sigaltstack=0",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:handle_segv=0:handle_abort=0:use_sigaltstack=0",
}
DEFAULT_RECORDS = 1024


class Failed(Exception):
    pass


def quietly(command, env=os.environ, **kwargs):
    return subprocess.run(command, capture_output=True, text=True, env=dict(env, LC_ALL="C", **SANITIZED), **kwargs)


class Workshop:
    """Builds and runs in a temporary folder."""

    def __init__(self, root, folder):
        self.root, self.folder, self.left_out = pathlib.Path(root), pathlib.Path(folder), []

    def can(self, compiler, *flags):
        """Does a program link with these flags? If not, the case goes on without them, and says so."""
        probe = self.folder / "probe.cpp"
        probe.write_text("#include <new>\nint main() {}\n")
        works = shutil.which(compiler) and \
            quietly([compiler, *flags, "-std=c++20", probe, "-o", self.folder / "probe"]).returncode == 0
        if not works:
            self.left_out.append(" ".join([compiler, *flags]))
        return works

    def build(self, name, compiler, *words):
        """Compiles or links words (flags, and sources of this folder) into name."""
        target = self.folder / name
        words = [str(HERE / word) if word.endswith(".cpp") and "/" not in word else word for word in words]
        done = quietly([compiler, "-std=c++20", "-Wall", "-Wextra", f"-I{self.root / 'include'}", *words, "-pthread",
                        "-o", target])
        noise = [line for line in done.stderr.splitlines() if "serial compilation" not in line and "lto-wrapper" not in line]
        if done.returncode != 0 or noise:
            raise Failed(f"{compiler} {' '.join(words)}:\n{done.stderr[:4000]}")
        return str(target)

    def main_unit(self, name="main.o", compiler="g++", *flags):
        return self.build(name, compiler, *flags, "-DCOPY=main_copy", "-c", "copy.cpp")

    def plugin(self, name, compiler="g++", *flags):
        return self.build(name, compiler, *flags, "-fPIC", "-shared", "-DCOPY=plugin_copy", "copy.cpp")

    def storage(self, records):
        """The generated unit, as meson.build generates it."""
        text = (self.root / "include/tocsin/posix/storage.cpp.in").read_text()
        for name, value in (("RECORDS", records), ("FRAMES", 64), ("ALTERNATE_STACK", 64)):
            text = text.replace(f"@{name}@", str(value))
        path = self.folder / f"storage{records}.cpp"
        path.write_text(text)
        return str(path)

    def run(self, *words):
        done = quietly(words, timeout=120)
        if done.returncode != 0:
            said = (done.stdout + done.stderr)[-3000:]
            raise Failed(f"{' '.join(map(str, words))} ended with {done.returncode}:\n{said}")

    def in_every_order(self, program, orders, *plugins, records=DEFAULT_RECORDS):
        for order in orders.split():
            self.run(program, str(records), order, *plugins)
