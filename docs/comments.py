#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Doxygen's input filter: the headers' plain comments as documentation.

    comments.py HEADER

The headers say what things are in // comments. Here the block at the top becomes the file's documentation, and each
block of whole lines outside a function's body becomes that of what follows it, if nothing else stands between. Texts
are taken as they are: what would be a command or a tag to Doxygen is escaped, words in back quotes are set as code, and
indented lines as they stand. The number of lines does not change, so that messages name the right one.
"""

import re
import sys

COMMENT = re.compile(r"^(\s*)//(?:$| ?(.*)$)")
# What a comment may stand in front of. Statements within a function's body are none of them.
DECLARATION = re.compile(
    r"^\s*(template\b|requires\b|class\b|struct\b|enum\b|union\b|using\b|concept\b|namespace\b|inline\b|constexpr\b|"
    r"consteval\b|constinit\b|explicit\b|static\b|extern\b|friend\b|virtual\b|operator\b|\[\[|__attribute__|~\w|"
    r"[A-Za-z_][\w:<>,&*. ]*[ &*]+[\w~]+ ?\(|[A-Za-z_]\w*\(.*\)( noexcept)?( :| \{|;|$)|[a-z_]+,?$|[a-z_]+ = )")


def escaped(text):
    return re.sub(r"([\\@<>#%&\"$]|::)", r"\\\1", text)


def dressed(lines):
    """Doxygen's text of a block, line for line."""
    out, quoted, verbatim = [], False, False
    for line in lines:
        indented = line.startswith("    ")
        if indented:
            opening = "" if verbatim else "@verbatim "
            verbatim = True
            out.append(opening + line)
            continue
        closing = "@endverbatim " if verbatim else ""
        verbatim = False
        text = ""
        for number, part in enumerate(line.split("`")):
            if number > 0:
                text += "</tt>" if quoted else "<tt>"
                quoted = not quoted
            text += escaped(part)
        out.append(closing + text)
    if quoted:
        out[-1] += "</tt>"
    if verbatim:
        out[-1] += " @endverbatim"
    return out


def is_documented(lines, at):
    """Whether a declaration, at the same depth, stands right behind the block that ends before line `at`."""
    return at < len(lines) and DECLARATION.match(lines[at]) is not None


def in_body(lines, at):
    """Whether line `at` is a statement: the innermost open line that is less indented has a parameter list."""
    depth = len(lines[at]) - len(lines[at].lstrip())
    for before in reversed(lines[:at]):
        if not before.strip() or before.lstrip().startswith(("//", "#")):
            continue
        if len(before) - len(before.lstrip()) < depth:
            if re.match(r"\s*(public|private|protected):", before):
                continue
            return re.search(r"\b(class|struct|enum|union|namespace)\b", before) is None
    return False


def filtered(lines):
    out, at, top = [], 0, True
    while at < len(lines):
        end = at
        while end < len(lines) and COMMENT.match(lines[end]):
            end += 1
        if end == at:
            top = top and not lines[at].startswith("#pragma once")
            out.append(lines[at])
            at += 1
            continue
        block = [COMMENT.match(line) for line in lines[at:end]]
        texts = [match[2] or "" for match in block]
        if top and texts[0].startswith("SPDX"):
            out.append("/// @file")
            out += ["/// " + text for text in dressed(texts[1:])]
            top = False
        elif is_documented(lines, end) and not in_body(lines, at):
            out += [match[1] + "/// " + text for match, text in zip(block, dressed(texts))]
        else:
            out += lines[at:end]
        at = end
    return out


def main():
    with open(sys.argv[1], encoding="utf-8") as header:
        print("\n".join(filtered(header.read().split("\n"))), end="")


if __name__ == "__main__":
    main()
