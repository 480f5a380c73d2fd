# SPDX-License-Identifier: MIT
"""The ways to have the library: one header, a subproject, installed, CMake, vcpkg, Conan; cases of check_consumers.py.

Each starts from a clean copy, asks no network, and needs the tool that it is about: it is left out by name without.
"""

import hashlib
import json
import os
import pathlib
import re
import shutil

from workshop import DEFAULT_RECORDS, HERE, Failed, quietly

GIT = ["git", "-c", "user.name=nobody", "-c", "user.email=nobody@localhost", "-c", "init.defaultBranch=main",
       "-c", "protocol.file.allow=always"]
NO_OWN = ["-Dtests=disabled", "-Dexamples=disabled", "-Dbenchmarks=disabled", "-Dpreload=disabled", "-Dlines=disabled"]


def must(*words, **kwargs):
    done = quietly([str(word) for word in words], **kwargs)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, words))}:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def meson(*words, **kwargs):
    return must("meson", *words, **kwargs)


def has(shop, *tools):
    missing = [tool for tool in tools if shutil.which(tool) is None]
    shop.left_out += missing
    return not missing


def project(shop, name="tocsin", everything=False):
    """A clean copy: what a consumer's build needs of it, or all of it."""
    copy = shop.folder / name
    if everything:
        shutil.copytree(shop.root, copy, ignore=shutil.ignore_patterns("build*", ".git", "__pycache__", "packagecache"))
        return copy
    copy.mkdir(parents=True)
    for file in ("meson.build", "meson_options.txt", "LICENSE"):
        shutil.copy(shop.root / file, copy)
    for folder in ("include", "packaging"):
        shutil.copytree(shop.root / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def version(shop):
    return re.search(r"version: '([^']*)'", (shop.root / "meson.build").read_text())[1]


def build_program(shop, name, *flags, records=DEFAULT_RECORDS, compiler="g++"):
    """The consumer's two units, with these flags in place of -I include."""
    program = shop.folder / name
    sources = [HERE / "subproject/program.cpp", HERE / "subproject/other.cpp"]
    must(compiler, "-std=c++20", "-Wall", "-Wextra", *flags, *sources, "-o", program)
    shop.run(program, str(records))


# --- One header ------------------------------------------------------------------------------------------------


def single(shop):
    """The one header compiles alone, links twice, and says at once what it needs."""
    source, build = project(shop), shop.folder / "build"
    meson("setup", build, source, *NO_OWN)
    meson("compile", "-C", build, "single-header")
    header = shop.folder / "copied/tocsin/tocsin.hpp"
    header.parent.mkdir(parents=True)
    shutil.copy(build / "packaging/tocsin.hpp", header)
    if (text := header.read_text()).splitlines()[0] != "// SPDX-License-Identifier: MIT" or "Permission is" not in text:
        raise Failed("it does not begin with its licence")
    if "#include <tocsin/" in text:
        raise Failed("it includes a header that is not in it")
    for compiler in ("g++", "clang++", "aarch64-linux-gnu-g++"):
        if has(shop, compiler):
            must(compiler, "-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c++", header)
    build_program(shop, "program", f"-I{shop.folder / 'copied'}")
    old = quietly(["g++", "-std=c++17", "-fsyntax-only", "-x", "c++", header]).stderr
    if "tocsin needs C++20" not in next(line for line in old.splitlines() if "error" in line):
        raise Failed(f"the first error for an older mode is\n{old[:500]}")


# --- Meson -----------------------------------------------------------------------------------------------------


def consumer(shop, *options, name="consumer", wrap=None, checkout=None):
    """Somebody else's project that says dependency('tocsin'), set up; answers with its build folder."""
    folder = shop.folder / name
    shutil.copytree(HERE / "subproject", folder)
    (folder / "subprojects").mkdir()
    if wrap is not None:
        (folder / "subprojects/tocsin.wrap").write_text(wrap)
    else:
        shutil.copytree(checkout or project(shop, f"{name}_sources"), folder / "subprojects/tocsin")
    meson("setup", folder / "build", folder, *options)
    return folder / "build"


def check_program(shop, build, records=DEFAULT_RECORDS):
    meson("compile", "-C", build)
    shop.run(build / "program", str(records))


def asked(build, what):
    return json.loads(meson("introspect", f"--{what}", build))


def subproject(shop):
    """Its options reach the table, and the parent gets no target, no test and nothing to install."""
    build = consumer(shop, "-Dtocsin:records=32")
    targets = [target["name"] for target in asked(build, "targets")]
    if targets != ["program"] or asked(build, "tests") or asked(build, "installed"):
        raise Failed(f"the parent has {targets}, {asked(build, 'tests')}, {asked(build, 'installed')}")
    check_program(shop, build, 32)


def storage(shop):
    """The two other places for the table."""
    check_program(shop, consumer(shop, "-Dtocsin:storage=inline", name="inline"))
    build = consumer(shop, "-Dtocsin:storage=shared", "-Dtocsin:records=64", name="shared")
    check_program(shop, build, 64)


def emulated(shop):
    """Built for aarch64 as a subproject, and run by qemu-user."""
    if has(shop, "aarch64-linux-gnu-g++", "qemu-aarch64"):
        build = consumer(shop, "--cross-file", shop.root / ".github/aarch64.ini")
        meson("compile", "-C", build)
        shop.run("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", build / "program", str(DEFAULT_RECORDS))


REFUSED = (
    (["-Drecords=100"], "tocsin: the option records must be a power of two, not 100"),
    (["-Drecords=8"], "tocsin: the option records must be from 16 to 65536, not 8"),
    (["-Dframes=1000"], "tocsin: the option frames must be from 16 to 256, not 1000"),
    (["-Dalternate_stack=4"], "tocsin: the option alternate_stack must be from 32 to 256, not 4"),
    (["-Dstorage=inline", "-Dframes=32"], "tocsin: storage=inline has the default limits; "),
    (["-Dstorage=none"], "Possible choices are"),
    (["--cross-file=windows.txt"], "tocsin: runs on Linux on x86-64 and aarch64, not on windows on x86_64"),
    (["--cross-file=riscv.txt"], "tocsin: runs on Linux on x86-64 and aarch64, not on linux on riscv64"),
)


def refused_setup(shop):
    """What cannot be built is refused when it is set up, in one sentence."""
    source = project(shop)
    for name, system, family in (("windows", "windows", "x86_64"), ("riscv", "linux", "riscv64")):
        (shop.folder / f"{name}.txt").write_text(
            f"[binaries]\ncpp = 'g++'\n[properties]\nneeds_exe_wrapper = true\n[host_machine]\nsystem = '{system}'\n"
            f"cpu_family = '{family}'\ncpu = '{family}'\nendian = 'little'\n")
    for number, (options, sentence) in enumerate(REFUSED):
        done = quietly(["meson", "setup", f"build{number}", str(source), *options], cwd=shop.folder)
        errors = [line for line in done.stdout.splitlines() if "ERROR" in line]
        if done.returncode == 0 or len(errors) != 1 or sentence not in errors[0]:
            raise Failed(f"{' '.join(options)} is answered by {errors}, not by: {sentence}")


def repository(shop):
    """All of the project, committed and tagged as a release is."""
    copy = project(shop, "repository", everything=True)
    must(*GIT, "-C", copy, "init", "--quiet")
    must(*GIT, "-C", copy, "add", "--all")
    must(*GIT, "-C", copy, "commit", "--quiet", "--message", "Release")
    must(*GIT, "-C", copy, "tag", f"v{version(shop)}")
    return copy


def wraps(shop):
    """The archive of `meson dist` has the tests and the single header; wrap files of both kinds find the library."""
    if not has(shop, "git"):
        return
    source, build, name = repository(shop), shop.folder / "build", f"tocsin-{version(shop)}"
    meson("setup", build, source, *NO_OWN)
    meson("dist", "-C", build, "--no-tests", "--formats", "gztar")
    archive = build / "meson-dist" / f"{name}.tar.gz"
    shutil.unpack_archive(archive, shop.folder / "unpacked")
    unpacked = shop.folder / "unpacked" / name
    if not (unpacked / "tocsin.hpp").is_file():
        raise Failed("the archive has no tocsin.hpp")
    meson("setup", shop.folder / "build_unpacked", unpacked)
    if len(asked(shop.folder / "build_unpacked", "tests")) < 50:
        raise Failed("the archive has hardly any tests")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    check_program(shop, consumer(shop, name="from_archive", wrap=(
        f"[wrap-file]\ndirectory = {name}\nsource_url = {archive.as_uri()}\nsource_filename = {archive.name}\n"
        f"source_hash = {digest}\n\n[provide]\ndependency_names = tocsin\n")))
    consumer(shop, name="from_git", wrap=(
        f"[wrap-git]\nurl = {source.as_uri()}\nrevision = v{version(shop)}\ndepth = 1\n\n"
        "[provide]\ndependency_names = tocsin\n"))


# --- Installed -------------------------------------------------------------------------------------------------


def install(shop, *options, name="prefix"):
    """Installed into a staging folder, and moved from there: nothing may know where it was."""
    source, build = project(shop, f"{name}_sources"), shop.folder / f"{name}_build"
    meson("setup", build, source, "--prefix", "/usr", "--libdir", "lib", "-Dpkgconfig.relocatable=true", *NO_OWN,
          *options)
    meson("install", "-C", build, "--destdir", shop.folder / f"{name}_stage")
    prefix = shop.folder / name
    shutil.move(shop.folder / f"{name}_stage/usr", prefix)
    return prefix


def pkg_config(prefix):
    found = [prefix / "share/pkgconfig", prefix / "lib/pkgconfig"]
    return must("pkg-config", "--cflags", "--libs", "tocsin",
                env=dict(os.environ, PKG_CONFIG_PATH=":".join(map(str, found)))).split()


def installed(shop):
    """Installed, moved, and found through pkg-config; with the shared library as well."""
    prefix = install(shop)
    headers = {path.relative_to(shop.root / "include") for path in (shop.root / "include").rglob("*.hpp")}
    missing = sorted(header for header in headers if not (prefix / "include" / header).is_file())
    if missing:
        raise Failed(f"not installed: {' '.join(map(str, missing))}")
    if not (prefix / "share/licenses/tocsin/LICENSE").is_file():
        raise Failed("the licence is not installed")
    if not has(shop, "pkg-config"):
        return
    flags = pkg_config(prefix)
    if len(flags) != 1 or pathlib.Path(flags[0].removeprefix("-I")).resolve() != prefix.resolve() / "include":
        raise Failed(f"pkg-config says {flags}")
    build_program(shop, "program", *flags)
    with_library = install(shop, "-Dstorage=shared", "-Drecords=128", name="with_library")
    build_program(shop, "shared", "-Wl,--as-needed", *pkg_config(with_library), f"-Wl,-rpath,{with_library}/lib",
                  records=128)


def installed_preload(shop):
    """The object for LD_PRELOAD and its man page, where a system looks for them."""
    build = shop.folder / "build"
    meson("setup", build, project(shop), "--prefix", "/usr", "--libdir", "lib", "-Dtests=disabled",
          "-Dexamples=disabled", "-Dbenchmarks=disabled")
    meson("install", "-C", build, "--destdir", shop.folder / "stage")
    for name in ("lib/libtocsin-preload.so", "share/man/man7/tocsin-preload.7"):
        if not (shop.folder / "stage/usr" / name).is_file():
            raise Failed(f"not installed: {name}")


# --- CMake -----------------------------------------------------------------------------------------------------


def configure(shop, name, **settings):
    """The CMake consumer, configured; answers with what cmake said, which may be that it failed."""
    if not (shop.folder / "cmake").exists():
        for folder in ("cmake", "subproject"):
            shutil.copytree(HERE / folder, shop.folder / folder)
    return quietly(["cmake", "-G", "Ninja", "-S", shop.folder / "cmake", "-B", shop.folder / name,
                    "-DCMAKE_BUILD_TYPE=Debug", *(f"-D{key}={value}" for key, value in settings.items())])


def check_cmake(shop, name, **settings):
    done = configure(shop, name, **settings)
    if done.returncode != 0 or "Warning" in done.stderr:
        raise Failed(f"cmake with {settings}:\n{(done.stdout + done.stderr)[-3000:]}")
    must("cmake", "--build", shop.folder / name)
    return shop.folder / name / "program"


def cmake_package(shop):
    """find_package: from where it was moved to, not for a version that is too new or of another series."""
    if not has(shop, "cmake"):
        return
    prefix = install(shop)
    number = version(shop)
    major, minor, patch = map(int, number.split("."))
    newer = f"{major}.{minor}.{patch + 1}"
    for wanted, found in ((number, True), (f"{major}.{minor}", True), (f"{number}...99", True), (newer, False),
                          (f"{newer}...99", False), (f"0.0...<{number}", False), (f"0.0...{number}", True),
                          (f"{major}.{minor + 1}", False), (f"{major + 1}", False)):
        done = configure(shop, "asked", WAY="installed", VERSION=wanted, CMAKE_PREFIX_PATH=prefix)
        if (done.returncode == 0) != found:
            raise Failed(f"find_package(tocsin {wanted}) against {number}:\n{done.stderr[-2000:]}")
        shutil.rmtree(shop.folder / "asked")
    program = check_cmake(shop, "installed", WAY="installed", VERSION=number, CMAKE_PREFIX_PATH=prefix)
    shop.run(program, str(DEFAULT_RECORDS))
    with_library = install(shop, "-Dstorage=shared", "-Drecords=128", name="with_library")
    shop.run(check_cmake(shop, "shared", WAY="installed", CMAKE_PREFIX_PATH=with_library), "128")


def cmake_fetch(shop):
    """FetchContent on the repository as it is, with its own target and with one made by hand."""
    if not has(shop, "cmake", "git"):
        return
    repo, tag = repository(shop), f"v{version(shop)}"
    program = check_cmake(shop, "fetched", WAY="fetched", REPOSITORY=repo.as_uri(), TAG=tag)
    shop.run(program, str(DEFAULT_RECORDS))
    if (done := configure(shop, "by_hand", WAY="by_hand", REPOSITORY=repo.as_uri(), TAG=tag)).returncode != 0:
        raise Failed(done.stderr[-3000:])


# --- Package managers ------------------------------------------------------------------------------------------


FIELDS = ["name", "version", "port-version", "description", "homepage", "documentation", "license", "supports",
          "dependencies", "default-features", "features"]


def check_manifest(path, number):
    """In the form that `vcpkg format-manifest` writes, and of the version that is built."""
    text = path.read_text()
    manifest = json.loads(text)
    canonical = {field: manifest[field] for field in FIELDS if field in manifest}
    canonical["dependencies"] = [dict(sorted(each.items(), key=lambda pair: pair[0] != "name"))
                                 for each in sorted(canonical["dependencies"], key=lambda each: each["name"])]
    if text != json.dumps(canonical, indent=2) + "\n" or set(canonical) != set(manifest):
        raise Failed(f"{path} is not in canonical form")
    if manifest["version"] != number:
        raise Failed(f"{path} is of version {manifest['version']}, the build of {number}")


def check_port(shop, port, name, **settings):
    """The steps of a port, without vcpkg."""
    work = shop.folder / name
    must("cmake", f"-DPORT={port}", f"-DWORK={work}", *(f"-D{key}={value}" for key, value in settings.items()),
         "-P", HERE / "vcpkg/stand_in.cmake")
    return work / "package"


def vcpkg(shop):
    """The overlay port; with vcpkg itself on the PATH, VCPKG_ROOT and what it downloads at hand, by the real tool."""
    source = project(shop)
    port = source / "packaging/vcpkg/tocsin"
    check_manifest(port / "vcpkg.json", version(shop))
    if has(shop, "cmake"):
        package = check_port(shop, port, "work")
        build_program(shop, "program", f"-I{package}/include")
    if has(shop, "vcpkg"):
        said = must("vcpkg", "install", "tocsin", f"--overlay-ports={port.parent}", "--no-binarycaching",
                    f"--x-install-root={shop.folder / 'installed'}", f"--x-packages-root={shop.folder / 'packages'}",
                    f"--x-buildtrees-root={shop.folder / 'buildtrees'}", cwd=shop.folder)
        if "warning" in said.lower():
            raise Failed(said)
        triplet = next((shop.folder / "installed").glob("*/share/tocsin")).parent.parent
        shop.run(check_cmake(shop, "through_vcpkg", WAY="installed", CMAKE_PREFIX_PATH=triplet), str(DEFAULT_RECORDS))


def vcpkg_registry(shop):
    """The port and the registry's entries, written from a tag; a version that is there already is not written over."""
    if not has(shop, "git"):
        return
    source, registry, number = repository(shop), shop.folder / "registry", version(shop)
    archive = shop.folder / "archive.tar"
    must(*GIT, "-C", source, "archive", f"--prefix=tocsin-{number}/", "-o", archive, f"v{number}")
    must(*GIT, "init", "--quiet", registry)
    publish = [source / "packaging/vcpkg/publish.py", "--repository", "owner/tocsin", f"v{number}", registry,
               "--archive"]
    must(*publish, archive)
    must(*publish, archive)
    must(*GIT, "-C", registry, "commit", "--quiet", "--message", "tocsin")
    tree = must(*GIT, "-C", registry, "rev-parse", "HEAD:ports/tocsin").strip()
    entry = json.loads((registry / "versions/t-/tocsin.json").read_text())
    if entry != {"versions": [{"version": number, "git-tree": tree}]}:
        raise Failed(f"{entry}, but the port is {tree}")
    check_manifest(registry / "ports/tocsin/vcpkg.json", number)
    digest = hashlib.sha512(archive.read_bytes()).hexdigest()
    if f"SHA512 {digest}\n" not in (registry / "ports/tocsin/portfile.cmake").read_text():
        raise Failed("the port has not the hash of the archive")
    if has(shop, "cmake"):
        check_port(shop, registry / "ports/tocsin", "published", SOURCE=source)
    for words in ((*publish, source / "LICENSE"), (*publish[:3], "v99.0.0", registry)):
        if quietly([str(word) for word in words]).returncode == 0:
            raise Failed(f"{words} is accepted")
    if must(*GIT, "-C", registry, "status", "--porcelain"):
        raise Failed("a refused version has changed the registry")


def conan(shop):
    """The recipe packs the checkout it lies in, for C++20 and Linux."""
    if not has(shop, "conan"):
        return
    recipe = project(shop) / "packaging/conan"
    home = dict(os.environ, CONAN_HOME=str(shop.folder / "home"))

    def run(*words):
        return quietly(["conan", *map(str, words)], env=home, cwd=shop.folder)

    run("profile", "detect")
    if (done := run("create", recipe, "-s", "compiler.cppstd=20")).returncode != 0:
        raise Failed((done.stdout + done.stderr)[-3000:])
    done = run("install", f"--requires=tocsin/{version(shop)}", "-s", "compiler.cppstd=20", "--deployer=full_deploy",
               "--output-folder=deployed")
    found = next(shop.folder.glob("deployed/full_deploy/host/tocsin/*/include"), None)
    if done.returncode != 0 or found is None:
        raise Failed((done.stdout + done.stderr)[-3000:])
    build_program(shop, "program", f"-I{found}")
    for setting, sentence in (("os=Windows", "tocsin runs on Linux"), ("compiler.cppstd=17", "C++ standard")):
        said = run("create", recipe, "-s", setting)
        if said.returncode == 0 or sentence not in said.stdout + said.stderr:
            raise Failed(f"{setting} is answered by\n{(said.stdout + said.stderr)[-1000:]}")


# --- Licences --------------------------------------------------------------------------------------------------


UNTAGGED = ("LICENSE", "LICENSES/", "README.md", "CHANGELOG.md", ".reuse/", ".github/", "docs/", "test/fuzz/corpus/",
            "packaging/vcpkg/tocsin/")


def licences(shop):
    """Every file that is written in a language says its licence itself; for the others, .reuse/dep5 says it."""
    source = project(shop, everything=True)
    files = [path for path in sorted(source.rglob("*")) if path.is_file()]
    untagged = [name for path in files if not (name := str(path.relative_to(source))).startswith(UNTAGGED)
                and b"SPDX-License-Identifier: MIT" not in path.read_bytes()[:600]]
    if untagged:
        raise Failed(f"no licence tag: {' '.join(untagged)}")
    if has(shop, "reuse", "git"):
        must(*GIT, "-C", source, "init", "--quiet")
        must("reuse", "--root", source, "lint")


CASES = (single, subproject, storage, emulated, refused_setup, wraps, installed, installed_preload, cmake_package,
         cmake_fetch, vcpkg, vcpkg_registry, conan, licences)
