#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Programs that use the library as strangers do: in several copies in one process, and built in every way.

    check_consumers.py --root DIR CASE

Each case builds what it needs in a folder of its own and runs it. Exits with 77 (skipped) where a case needs a tool
that is not installed, after everything else in the case has been tried; what was left out is named.
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


def quietly(command, **kwargs):
    return subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, LC_ALL="C", **SANITIZED), **kwargs)


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


# --- Copies in one process -----------------------------------------------------------------------------------


def units(shop):
    """Two units that include the headers."""
    other = shop.build("other.o", "g++", "-O1", "-DCOPY=linked_copy", "-c", "copy.cpp")
    program = shop.build("units", "g++", "-DLINKED", "nesting.cpp", shop.main_unit(), other)
    shop.in_every_order(program, "e o eo oe")


def generated(shop):
    """The generated unit beside plain includes: whoever installs first decides for all."""
    records = 64
    main, storage = shop.main_unit(), shop.build("storage.o", "g++", "-fPIC", "-c", shop.storage(records))
    other = shop.build("other.o", "g++", "-DCOPY=linked_copy", "-c", "copy.cpp")
    program = shop.build("with", "g++", "-DLINKED", "nesting.cpp", main, other, storage)
    plain = shop.build("without", "g++", "nesting.cpp", main)
    plugin, plugin_with = shop.plugin("plugin.so"), shop.plugin("plugin_with.so", "g++", storage)
    shop.in_every_order(program, "e o eo oe eo0", plugin, records=records)
    shop.in_every_order(program, "0e 0oe", plugin)
    shop.in_every_order(plain, "e0", plugin_with)
    shop.in_every_order(plain, "0e", plugin_with, records=records)
    shop.in_every_order(program, "e0 0e", plugin_with, records=records)


def shared(shop):
    """The executable and two shared objects with hidden visibility, linked."""
    one = shop.build("libone.so", "g++", *HIDDEN, "-fPIC", "-shared", "-DCOPY=linked_copy", "copy.cpp")
    two = shop.plugin("libtwo.so", "g++", *HIDDEN)
    program = shop.build("shared", "g++", "-DLINKED", "nesting.cpp", shop.main_unit(), one, two)
    shop.in_every_order(program, "eo oe eo0 0oe", two)


def plugins(shop):
    """Two dlopened plugins (RTLD_LOCAL), an executable without -rdynamic; whatever comes first."""
    first, second = shop.plugin("first.so", "g++", *HIDDEN), shop.plugin("second.so")
    program = shop.build("plugins", "g++", "nesting.cpp", shop.main_unit())
    shop.in_every_order(program, "e 0 e0 0e e01 01e 1e0", first, second)


def exported(shop):
    """Everything visible to everybody: default visibility, -rdynamic, the plugins in the global scope."""
    first, second = shop.plugin("first.so"), shop.plugin("second.so", "g++", "-O2")
    program = shop.build("exported", "g++", "-DSCOPE=RTLD_GLOBAL", "-rdynamic", "nesting.cpp", shop.main_unit())
    shop.in_every_order(program, "e01 01e 1e0", first, second)


def namespaces(shop):
    """A plugin in a namespace of its own (dlmopen), which has its own libc: the kernel's signals are still the same."""
    program = shop.build("namespaces", "g++", "-DSPACE=LM_ID_NEWLM", "-DOTHER_EXCEPTIONS", "nesting.cpp", shop.main_unit())
    shop.in_every_order(program, "0 e0 0e", shop.plugin("plugin.so"))


def mixed(shop):
    """An executable of one compiler, plugins of another, one of them with another standard library."""
    program = shop.build("mixed", "g++", "-DOTHER_EXCEPTIONS", "nesting.cpp", shop.main_unit())
    objects = [shop.plugin("own.so")]
    if shop.can("clang++"):
        objects.append(shop.plugin("clang.so", "clang++", "-O1"))
    if shop.can("clang++", "-stdlib=libc++"):
        objects.append(shop.plugin("libcxx.so", "clang++", "-stdlib=libc++", "-fno-exceptions", "-fno-rtti"))
    for i in range(1, len(objects)):
        shop.in_every_order(program, f"e0{i} {i}0e 0{i}e", *objects)


def race(shop):
    """The executable and two plugins install for the first time, all at once, in 60 processes."""
    program = shop.build("race", "g++", "-O1", "race.cpp", shop.main_unit())
    plugin = shop.plugin("plugin.so")
    other = shutil.copy(plugin, shop.folder / "other.so")
    for _ in range(60):
        shop.run(program, plugin, str(other))


def unload(shop):
    """dlclose while signals arrive, of a plugin that has made the table and of one that has not."""
    plugin = shop.plugin("plugin.so")
    program = shop.build("unload", "g++", "unload.cpp", shop.main_unit())
    shop.run(program, "e", "100", plugin)
    shop.run(program, "p", "20", plugin)


def unique(shop):
    """No symbol of the library is STB_GNU_UNIQUE: the loader never unmaps an object that has brought one."""
    plugin = shop.build("unique.so", "g++", "-O0", "-fPIC", "-shared", str(HERE.parent / "rules/handlers.cpp"))
    symbols = quietly(["nm", "-DC", plugin]).stdout
    if "tocsin::" not in symbols:
        raise Failed("nm shows no symbol of the library: nothing was checked")
    found = [line for line in symbols.splitlines() if re.search(r" u .*\btocsin", line)]
    if found:
        raise Failed("make these hidden:\n" + "\n".join(found))


# --- One program, built in every way -------------------------------------------------------------------------


def everything(shop, compiler, *flags):
    if shop.can(compiler, *flags):
        shop.run(shop.build("everything", compiler, *flags, "everything.cpp"))


def linker(shop, name):
    """A linker, which drops the sections that are not used."""
    flags = [f"-fuse-ld={name}", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections"]
    if shop.can("g++", *flags):
        program = shop.build("nesting", "g++", *flags, "nesting.cpp", shop.main_unit("main.o", "g++", *flags))
        shop.in_every_order(program, "e0 0e", shop.plugin("plugin.so", "g++", *flags))
        everything(shop, "g++", *flags)


def lto(shop):
    """-O3 -flto: one program, and copies in it."""
    flags = ["-O3", "-flto=auto"]
    everything(shop, "g++", *flags)
    program = shop.build("nesting", "g++", *flags, "nesting.cpp", shop.main_unit("main.o", "g++", *flags))
    shop.in_every_order(program, "e0 0e", shop.plugin("plugin.so", "g++", *flags))


def bare(shop):
    """Without exceptions, without run-time types, without frame pointers."""
    for compiler in ("g++", "clang++"):
        everything(shop, compiler, "-O2", "-fno-exceptions", "-fno-rtti", "-fomit-frame-pointer")


def static(shop):
    """Static programs, with a fixed address and without. The linker must not warn either."""
    everything(shop, "g++", "-static")
    everything(shop, "g++", "-static-pie", "-fPIE")


def libcxx(shop):
    """The other standard library, with its stop source or without."""
    flags = ["-stdlib=libc++"]
    everything(shop, "clang++", *flags, "-O1")
    if shop.can("clang++", *flags):
        other = shop.build("libother.so", "clang++", *flags, *HIDDEN, "-fPIC", "-shared", "-DCOPY=linked_copy", "copy.cpp")
        main = shop.main_unit("main.o", "clang++", *flags, *HIDDEN)
        program = shop.build("nesting", "clang++", *flags, *HIDDEN, "-DLINKED", "nesting.cpp", main, other)
        shop.in_every_order(program, "eo oe")


def address_sanitizer(shop):
    everything(shop, "clang++", "-O0", "-g", "-fsanitize=address,undefined")
    everything(shop, "g++", "-O0", "-g", "-fsanitize=address,undefined")


def thread_sanitizer(shop):
    flags = ["-O1", "-g", "-fsanitize=thread"]
    everything(shop, "g++", *flags, "-DUNDER_SANITIZER")
    if shop.can("g++", *flags):
        plugin = shop.plugin("plugin.so", "g++", *flags)
        program = shop.build("race", "g++", *flags, "race.cpp", shop.main_unit("main.o", "g++", *flags))
        for _ in range(5):
            shop.run(program, plugin, str(shutil.copy(plugin, shop.folder / "other.so")))


# --- Through the build -----------------------------------------------------------------------------------------


def project(shop):
    """A copy of what the build of a consumer needs; its own tests are not part of it."""
    copy = shop.folder / "tocsin"
    copy.mkdir()
    for name in ("meson.build", "meson_options.txt", "LICENSE"):
        shutil.copy(shop.root / name, copy)
    shutil.copytree(shop.root / "include", copy / "include")
    return copy


def meson(*words):
    done = quietly(["meson", *words])
    if done.returncode != 0:
        raise Failed(f"meson {' '.join(map(str, words))}:\n{(done.stdout + done.stderr)[-3000:]}")


def subproject(shop):
    """A project of somebody else's that says dependency('tocsin'): its options reach the table."""
    consumer = shop.folder / "consumer"
    shutil.copytree(HERE / "subproject", consumer)
    (consumer / "subprojects").mkdir()
    shutil.move(project(shop), consumer / "subprojects/tocsin")
    meson("setup", consumer / "build", consumer, "-Dtocsin:records=32")
    meson("compile", "-C", consumer / "build")
    shop.run(consumer / "build/program", "32")


def installed(shop):
    """Installed, and found through pkg-config."""
    source, build, prefix = project(shop), shop.folder / "build", shop.folder / "prefix"
    meson("setup", build, source, "--prefix", prefix, "-Dtests=disabled", "-Dexamples=disabled")
    meson("install", "-C", build)
    headers = {p.relative_to(source / "include") for p in (source / "include").rglob("*.hpp")}
    missing = sorted(h for h in headers if not (prefix / "include" / h).is_file())
    if missing:
        raise Failed(f"not installed: {' '.join(map(str, missing))}")
    if shutil.which("pkg-config") is None:
        return shop.left_out.append("pkg-config")
    found = subprocess.run(["pkg-config", "--cflags", "tocsin"], capture_output=True, text=True,
                           env=dict(os.environ, PKG_CONFIG_PATH=str(prefix / "share/pkgconfig")))
    program = shop.folder / "program"
    done = quietly(["g++", "-std=c++20", *found.stdout.split(), HERE / "subproject/program.cpp", "-pthread", "-o", program])
    if f"-I{prefix}" not in found.stdout or done.returncode != 0:
        raise Failed(f"pkg-config says {found.stdout}{found.stderr}; {done.stderr[:3000]}")
    shop.run(program, str(DEFAULT_RECORDS))


CASES = {case.__name__: case for case in (
    units, generated, shared, plugins, exported, namespaces, mixed, race, unload, unique, lto, bare, static, libcxx,
    address_sanitizer, thread_sanitizer, subproject, installed)}
CASES |= {f"linker_{name}": functools.partial(linker, name=name) for name in ("bfd", "gold", "lld", "mold")}


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--root", required=True)
    options.add_argument("case", choices=CASES)
    given = options.parse_args()
    if shutil.which("g++") is None:
        print("skipped: g++ is not installed")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        shop = Workshop(given.root, folder)
        try:
            CASES[given.case](shop)
        except Failed as why:
            print(why)
            return 1
        except subprocess.TimeoutExpired as late:
            print(f"does not end: {late.cmd}")
            return 1
    for name in shop.left_out:
        print(f"left out, not installed here: {name}")
    print(f"{given.case}: as it should be")
    return 77 if shop.left_out else 0


if __name__ == "__main__":
    sys.exit(main())
