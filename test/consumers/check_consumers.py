#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Programs that use the library as strangers do: in several copies in one process, and built in every way.

    check_consumers.py --root DIR CASE

Each case builds what it needs in a folder of its own and runs it. Exits with 77 (skipped) where a case needs a tool
that is not installed, after everything else in the case has been tried; what was left out is named.
"""

import argparse
import functools
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the sources stay as they are

import packages
from workshop import DEFAULT_RECORDS, HERE, HIDDEN, Failed, Workshop, quietly


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


CASES = {case.__name__: case for case in (
    units, generated, shared, plugins, exported, namespaces, mixed, race, unload, unique, lto, bare, static, libcxx,
    address_sanitizer, thread_sanitizer, *packages.CASES)}
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
