#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the port of a released version into a git registry of vcpkg: the port itself, and the registry's entries.

    publish.py --repository OWNER/NAME [--archive FILE] vVERSION REGISTRY

vVERSION is a tag of the checkout this lies in; the port is taken from it. REGISTRY is the clone of the registry, an
empty git repository for the first version. FILE is the archive of the tag that users will download; without it, that
is what is downloaded here, from the repository on GitHub. Nothing is committed: the changes are left in the index.
"""

import argparse
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PORT = "packaging/vcpkg/tocsin"
NAME = "tocsin"


class Refused(Exception):
    pass


def git(folder, *words, given=None):
    done = subprocess.run(["git", "-C", folder, *words], input=given, capture_output=True, text=True)
    if done.returncode != 0:
        raise Refused(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def released_version(tag):
    """The version that a tag stands for, which its files must have as well."""
    if not re.fullmatch(r"v\d+\.\d+\.\d+", tag):
        raise Refused(f"{tag} is no version tag, such as v1.2.3")
    version, manifest = tag[1:], json.loads(git(ROOT, "show", f"{tag}:{PORT}/vcpkg.json"))
    built = re.search(r"version: '([^']*)'", git(ROOT, "show", f"{tag}:meson.build"))[1]
    for where, found in (("vcpkg.json", manifest["version"]), ("meson.build", built)):
        if found != version:
            raise Refused(f"{where} of {tag} says version {found}")
    return version, manifest


def digest(archive, repository, tag):
    if archive is not None:
        return hashlib.sha512(archive.read_bytes()).hexdigest()
    with urllib.request.urlopen(f"https://github.com/{repository}/archive/{tag}.tar.gz") as answer:
        return hashlib.sha512(answer.read()).hexdigest()


def portfile(text, repository, sha512):
    """The overlay's portfile with the source of the release in place of the checkout."""
    source = re.compile(r"get_filename_component\(SOURCE_PATH [^)]*\)\n")
    if len(source.findall(text)) != 1:
        raise Refused("the portfile does not say once where its source is")
    return source.sub(f"""vcpkg_from_github(
    OUT_SOURCE_PATH SOURCE_PATH
    REPO {repository}
    REF "v${{VERSION}}"
    SHA512 {sha512}
    HEAD_REF main
)
""", text)


def with_homepage(manifest, repository):
    """The order of the fields is vcpkg's own."""
    published = {}
    for field, value in manifest.items():
        published[field] = value
        if field == "description":
            published["homepage"] = f"https://github.com/{repository}"
    return published


def as_json(value):
    return json.dumps(value, indent=2) + "\n"


def read_json(path, otherwise):
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else otherwise


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def tree_of(registry, files):
    """The name that git gives to a folder of these files, whether it is committed or not."""
    blobs = [(name, git(registry, "hash-object", "-w", "--stdin", given=text).strip()) for name, text in files.items()]
    return git(registry, "mktree", given="".join(f"100644 blob {blob}\t{name}\n" for name, blob in blobs)).strip()


def publish(registry, version, files):
    """Writes nothing if it refuses."""
    tree = tree_of(registry, files)
    known_versions = registry / "versions" / f"{NAME[0]}-" / f"{NAME}.json"
    versions = read_json(known_versions, {"versions": []})
    known = next((entry for entry in versions["versions"] if entry["version"] == version), None)
    if known is not None and known["git-tree"] != tree:
        raise Refused(f"the registry has another port of version {version}, which users may have pinned")
    if known is None:
        versions["versions"].insert(0, {"version": version, "git-tree": tree})
    newest = registry / "versions" / "baseline.json"
    baseline = read_json(newest, {"default": {}})
    baseline["default"][NAME] = {"baseline": version, "port-version": 0}
    baseline["default"] = dict(sorted(baseline["default"].items()))

    for name, text in files.items():
        write(registry / "ports" / NAME / name, text)
    write(known_versions, as_json(versions))
    write(newest, as_json(baseline))
    git(registry, "add", f"ports/{NAME}", "versions")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--repository", required=True)
    options.add_argument("--archive", type=pathlib.Path)
    options.add_argument("tag")
    options.add_argument("registry", type=pathlib.Path)
    given = options.parse_args()
    try:
        version, manifest = released_version(given.tag)
        git(given.registry, "rev-parse", "--git-dir")
        text = portfile(git(ROOT, "show", f"{given.tag}:{PORT}/portfile.cmake"), given.repository,
                        digest(given.archive, given.repository, given.tag))
        publish(given.registry, version, {
            "portfile.cmake": text, "vcpkg.json": as_json(with_homepage(manifest, given.repository))})
    except (Refused, OSError) as why:
        print(f"publish.py: {why}", file=sys.stderr)
        return 1
    print(f"{NAME} {version} is in the index of {given.registry}: commit and push it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
