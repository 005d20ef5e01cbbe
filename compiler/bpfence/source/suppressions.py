"""Comments that hide a warning or a note on purpose: the text of a YAML file in, `Suppression`s out.

``# bpfence: ignore CODE reason`` at the end of a line speaks of that line; alone on its line, of the next line that is
no comment. Several codes are separated by commas. Only warnings and notes can be hidden, and the reason is required.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from bpfence.diagnostics import Diagnostics
from bpfence.source.files import FoundFile
from bpfence.source.spans import Span

MARK = "bpfence: ignore"
_COMMENT = re.compile(r"(?:^|(?<=[ \t]))#+[ \t]*bpfence: ignore\b[ \t]*(.*?)[ \t\r]*$")
_CONTENT = re.compile(r"([A-Z][A-Z0-9]{2}[0-9]{3}(?:,[ \t]*[A-Z][A-Z0-9]{2}[0-9]{3})*)[ \t:]+(\S.*)")
_LARGEST = 4 << 20
"""characters up to which text inside quotes is told from comments, which takes reading the file once more"""


@dataclass(frozen=True, slots=True)
class Suppression:
    """``line``: whose messages it hides. ``span``: the comment itself."""

    path: str
    line: int
    codes: tuple[str, ...]
    reason: str
    span: Span


def read_suppressions(file: FoundFile, text: str, diagnostics: Diagnostics) -> tuple[Suppression, ...]:
    """The comments of a file in their order. One that can't be understood is a warning and hides nothing."""
    if MARK not in text:
        return ()
    lines = text.split("\n")
    inside = _scalar_places(text)
    return tuple(_suppressions(file, lines, inside, diagnostics))


def _suppressions(
    file: FoundFile, lines: list[str], inside: tuple[Place, ...], diagnostics: Diagnostics
) -> Iterator[Suppression]:
    for number, line in enumerate(lines):
        found = _COMMENT.search(line) if MARK in line else None
        if found is None or any(start <= (number, found.start()) < end for start, end in inside):
            continue
        span = Span(file.path, number + 1, found.start() + 1, number + 1, found.end() + 1, file.relative)
        content = _CONTENT.fullmatch(found[1])
        if content is None:
            message = "this comment hides nothing: a code and a reason are missing"
            diagnostics.warning("SRC030", span, message, f"write # {MARK} CODE reason")
            continue
        codes = tuple(code.strip() for code in content[1].split(","))
        alone = not line[: found.start()].strip()
        yield Suppression(file.path, (_next_line(lines, number) if alone else number) + 1, codes, content[2], span)


def _next_line(lines: list[str], number: int) -> int:
    """The first line behind ``number`` that is no comment."""
    return next(at for at in count(number + 1) if at >= len(lines) or not lines[at].lstrip().startswith("#"))


Place = tuple[tuple[int, int], tuple[int, int]]
"""(line, column) of the beginning and the end, from 0"""


def _scalar_places(text: str) -> tuple[Place, ...]:
    """Where quoted and block text stands that mentions the mark: that is no comment."""
    if len(text) > _LARGEST:
        return ()
    import yaml  # not at the top: hardly any file has such a comment

    places: list[Place] = []
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    try:
        for token in yaml.scan(text, Loader=loader):
            if isinstance(token, yaml.ScalarToken) and MARK in token.value:
                start, end = token.start_mark, token.end_mark
                places.append(((start.line, start.column), (end.line, end.column)))
    except yaml.YAMLError:
        return tuple(places)
    return tuple(places)
