"""Paths in; located documents of everything they hold, one per object, and the list of files read, out."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TextIO

from bpfence.collection import collection_paused
from bpfence.diagnostics import Diagnostics
from bpfence.source.documents import Document
from bpfence.source.files import STDIN_NAME, FoundFile, file_span, find_files
from bpfence.source.json_place import JsonPlace
from bpfence.source.json_reader import looks_like_json, read_json, report_json_syntax
from bpfence.source.limits import Limits
from bpfence.source.marks import Place
from bpfence.source.suppressions import MARK, Suppression, read_suppressions
from bpfence.source.unwrap import unwrap_lists


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that was read: its path as named, its path below the input root, the SHA-256 of its bytes in hex.

    ``suppressions``: its comments that hide messages.
    """

    path: str
    relative: str
    sha256: str
    suppressions: tuple[Suppression, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class RawFile:
    """A file as it lies there."""

    file: FoundFile
    content: bytes = field(repr=False)
    info: InputFile

    @property
    def is_json(self) -> bool:
        """Whether its name says so."""
        return self.file.path.lower().endswith(".json")


@dataclass(frozen=True, slots=True)
class Sources:
    """What the paths hold: objects in the order of the text, and the files in the order they were read."""

    documents: tuple[Document, ...] = ()
    files: tuple[InputFile, ...] = ()


def read_sources(
    paths: Sequence[str],
    diagnostics: Diagnostics,
    limits: Limits | None = None,
    stdin: TextIO | None = None,
) -> Sources:
    """Read files, folders (recursively ``.yaml .yml .json``, hidden entries skipped) and ``-`` (standard input).

    Multi-document files, ``kind: List`` and typed lists are taken apart into one document per object. A file named
    explicitly is read whatever its name. Everything wrong with the text becomes a diagnostic (``SRC...``).
    """
    limits = limits or Limits()
    documents: list[Document] = []
    files: list[InputFile] = []
    with collection_paused():
        for raw in read_files(paths, diagnostics, limits, stdin):
            files.append(raw.info)
            documents.extend(parse_file(raw, diagnostics, limits))
    return Sources(tuple(documents), tuple(files))


def read_files(
    paths: Sequence[str], diagnostics: Diagnostics, limits: Limits, stdin: TextIO | None = None
) -> Iterator[RawFile]:
    """The files of the paths with their bytes, before anybody looks into them. What can't be read is an error."""
    for file in find_files(paths, diagnostics):
        content = _read_bytes(file, limits, diagnostics, stdin)
        if content is None:
            continue
        comments = _read_comments(file, content, limits, diagnostics)
        info = InputFile(file.path, file.relative, hashlib.sha256(content).hexdigest(), comments)
        yield RawFile(file, content, info)


def parse_file(raw: RawFile, diagnostics: Diagnostics, limits: Limits) -> Iterator[Document]:
    """The objects of a file in the order of the text."""
    return _read_documents(raw.file, raw.content, limits, diagnostics)


def read_text(name: str, text: str, diagnostics: Diagnostics, limits: Limits | None = None) -> tuple[Document, ...]:
    """The documents of a text that is no file; ``name`` stands in its spans and says how to read it (``.json``)."""
    file = FoundFile(name, name)
    return tuple(_read_documents(file, text.encode(), limits or Limits(), diagnostics))


def _read_bytes(file: FoundFile, limits: Limits, diagnostics: Diagnostics, stdin: TextIO | None) -> bytes | None:
    """The content, never more than the largest limit; None when it can't be had."""
    try:
        if file.path == STDIN_NAME:
            content = _read_stdin(stdin or sys.stdin, limits.json_bytes + 1)
        else:
            with open(file.path, "rb") as stream:
                content = stream.read(_limit(file, limits) + 1)
    except (OSError, UnicodeDecodeError, ValueError) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else str(failure)
        diagnostics.error("SRC002", file_span(file), f"can't read {file.path}: {reason}", "check the file")
        return None
    return content


def _read_stdin(stream: TextIO, size: int) -> bytes:
    binary = getattr(stream, "buffer", None)
    return binary.read(size) if binary is not None else stream.read(size).encode()


def _limit(file: FoundFile, limits: Limits) -> int:
    return limits.json_bytes if file.path.lower().endswith(".json") else limits.yaml_bytes


def _read_comments(
    file: FoundFile, content: bytes, limits: Limits, diagnostics: Diagnostics
) -> tuple[Suppression, ...]:
    """JSON has no comments, and most files have none of ours."""
    if file.path.lower().endswith(".json") or MARK.encode() not in content or len(content) > limits.yaml_bytes:
        return ()
    return read_suppressions(file, content.decode("utf-8-sig", "replace"), diagnostics)


def _read_documents(file: FoundFile, content: bytes, limits: Limits, diagnostics: Diagnostics) -> Iterator[Document]:
    is_json = file.path.lower().endswith(".json")
    text = _decode(file, content, diagnostics)
    if text is None:
        return
    limit = limits.json_bytes if is_json or (looks_like_json(text) and file.path == STDIN_NAME) else limits.yaml_bytes
    if len(content) > limit:
        diagnostics.error("SRC004", file_span(file), f"{file.path} is larger than {limit} bytes", "split the file")
        return
    for data, place in _read_values(file, text, is_json, limits, diagnostics):
        if isinstance(data, dict):
            yield from unwrap_lists(Document(data, place), place, limits.depth, diagnostics)
        elif data is not None:
            message = "a document must be a mapping with apiVersion and kind"
            diagnostics.error("SRC014", place((), False), message, "check the indentation of its first lines")


def _decode(file: FoundFile, content: bytes, diagnostics: Diagnostics) -> str | None:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        line = content.count(b"\n", 0, failure.start) + 1
        span = replace(file_span(file), line=line, end_line=line)
        diagnostics.error("SRC003", span, f"{file.path} is not UTF-8 text", "convert the file to UTF-8")
        return None


def _read_values(
    file: FoundFile, text: str, is_json: bool, limits: Limits, diagnostics: Diagnostics
) -> Iterator[tuple[Any, Place | JsonPlace]]:
    """Text that begins like JSON is tried as JSON first, which is much faster; YAML's flow style begins so too."""
    if not is_json and not looks_like_json(text):
        yield from _read_yaml(file, text, diagnostics, limits)
        return
    attempt = Diagnostics()
    try:
        values = list(read_json(file, text, attempt, limits))
    except json.JSONDecodeError as failure:
        if is_json:
            report_json_syntax(file, failure, diagnostics)
            return
        yield from _read_yaml(file, text, diagnostics, limits)
        return
    diagnostics.extend(attempt.items)
    yield from values


def _read_yaml(file: FoundFile, text: str, diagnostics: Diagnostics, limits: Limits) -> Iterator[tuple[Any, Place]]:
    # Not at the top: a run that finds its policies kept reads JSON alone.
    from bpfence.source.yaml_reader import read_yaml

    return read_yaml(file, text, diagnostics, limits)
