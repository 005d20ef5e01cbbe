"""Small pieces of C text: comments, constants, map declarations, and the fragments kept in ``bpf/``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bpfence.resources import resource_dir

_LICENCE = "/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */"


def comment_block(lines: Sequence[str]) -> str:
    """The licence line and a block comment. No text can end the comment early."""
    safe = [" ".join(line.split()).replace("*/", "* /").replace("/*", "/ *") for line in lines]
    return "\n".join([_LICENCE, "/*", *(f" * {line}".rstrip() for line in safe), " */", ""])


def constants(values: Mapping[str, int | str]) -> str:
    """One ``#define`` a line, in the given order."""
    return "\n".join(f"#define {name} {value}" for name, value in values.items()) + "\n"


def pinned_map(kind: str, key: str, value: str | int, name: str, entries: int, comment: str) -> str:
    """A map that is pinned already; its path comes with the macro ``PIN_<name>`` when the text is compiled.

    ``value``: a C type, or a number of bytes for a table: bcc writes printing code for every member of a value, so a
    table is one array of char.
    """
    lines = [f"/* {comment} */"]
    if isinstance(value, int):
        lines.append(f"struct {name}_table {{ char bytes[{value}]; }};")
        value = f"struct {name}_table"
    lines.append(f'BPF_TABLE_PINNED("{kind}", {key}, {value}, {name}, {entries}, PIN_{name});')
    return "\n".join(lines) + "\n"


def fragment(name: str) -> str:
    """A file of ``bpf/`` without its licence line, which the whole text has once."""
    text = (resource_dir("bpf") / name).read_text()
    return text.removeprefix(_LICENCE + "\n")
