"""A change plan: a file with an artefact, the node that it was compared with, and what it would change there.

`diff live -o FILE.json` writes it, `apply FILE.json` carries out just that, and refuses when the node has moved. The
file is JSON; its hash is over everything in it. What is read back is hostile until the hashes hold: sizes are bounded.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bpfence import __version__
from bpfence.emit.artefact import Artefact, Manifest
from bpfence.emit.folder import ArtefactError, check_hashes
from bpfence.errors import UsageError
from bpfence.loader.expected import Expected
from bpfence.loader.live_diff import LiveDiff

FORMAT = "bpfence-change-plan"
MOST_BYTES = 1 << 29
"""of a plan, packed; tables are not unpacked beyond the sizes that the manifest gives"""
_MOST_TABLE = 1 << 29
_HEAD = 256


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Packed(_Model):
    """``tables``: zlib, base64."""

    manifest: dict[str, Any]
    programs: dict[str, str]
    tables: dict[str, str]
    ir_text: str
    identities: dict[str, Any]
    report: str


class _Node(_Model):
    network: int
    generation: int
    slot: int
    content: str
    kernel: str
    interfaces: list[tuple[int, str, str]]
    hooks: list[tuple[int, str]]


class _Plan(_Model):
    format: Literal["bpfence-change-plan"]
    format_version: str
    tool_version: str
    node: str
    expected: _Node
    content: str
    diff: dict[str, Any]
    artefact: _Packed
    hash: str


@dataclass(frozen=True, slots=True)
class ChangePlan:
    """What is to be brought into force, and the node that it is for."""

    artefact: Artefact
    expected: Expected


def write_change_plan(path: Path, diff: LiveDiff, document: dict[str, Any]) -> None:
    """Write the plan of a diff that has just been made, closed to everybody but its owner. ``document``: the diff as
    JSON. Raises UsageError when the file can't be written.
    """
    artefact = diff.artefact
    plan: dict[str, Any] = {
        "format": FORMAT,
        "format_version": "1.0",
        "tool_version": __version__,
        "node": artefact.manifest.node,
        "expected": asdict(diff.expected),
        "content": artefact.manifest.content,
        "diff": document,
        "artefact": {
            "manifest": artefact.manifest.model_dump(mode="json"),
            "programs": artefact.programs,
            "tables": {name: _pack(image) for name, image in artefact.tables.items()},
            "ir_text": artefact.ir_text,
            "identities": artefact.identities,
            "report": artefact.report,
        },
    }
    text = json.dumps({**plan, "hash": _hash(plan)})
    _write(path, text.encode())


def _write(path: Path, content: bytes) -> None:
    """In one step, so that nobody reads half a plan."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        fresh.replace(path)
    except OSError as error:
        raise UsageError(f"can't write the change plan {path}: {error.strerror}") from error


def is_change_plan(path: str | Path) -> bool:
    """Whether a file says that it is a plan."""
    try:
        with Path(path).open("rb") as file:
            return FORMAT.encode() in file.read(_HEAD)
    except OSError:
        return False


def read_change_plan(path: str | Path) -> ChangePlan:
    """Read and verify. ArtefactError when it is damaged or of another version."""
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ArtefactError(f"can't read the change plan {path}: {error.strerror}") from error
    if len(raw) > MOST_BYTES:
        raise ArtefactError(f"the change plan {path} has more than {MOST_BYTES} bytes")
    try:
        document = json.loads(raw)
        plan = _Plan.model_validate_json(raw)
    except (ValidationError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} is no change plan of this version: {_first_line(error)}") from error
    document.pop("hash")
    if _hash(document) != plan.hash:
        raise ArtefactError(f"the change plan {path} was changed after it was made (its hash differs)")
    return ChangePlan(_unpacked(plan, path), _expected(plan.expected))


def _unpacked(plan: _Plan, path: str | Path) -> Artefact:
    packed = plan.artefact
    try:
        manifest = Manifest.model_validate(packed.manifest)
        tables = {entry.name: _unpack(packed.tables[entry.name], entry.size) for entry in manifest.tables}
    except (ValidationError, KeyError, ValueError, zlib.error) as error:
        raise ArtefactError(f"the artefact in {path} can't be read: {_first_line(error)}") from error
    artefact = Artefact(manifest, packed.programs, tables, packed.ir_text, packed.identities, packed.report)
    check_hashes(artefact)
    if manifest.content != plan.content:
        raise ArtefactError(f"the artefact in {path} is not the one that the plan is about")
    return artefact


def _expected(node: _Node) -> Expected:
    return Expected(
        network=node.network,
        generation=node.generation,
        slot=node.slot,
        content=node.content,
        kernel=node.kernel,
        interfaces=tuple(node.interfaces),
        hooks=tuple(node.hooks),
    )


def _pack(image: bytes) -> str:
    return base64.b64encode(zlib.compress(image, 1)).decode()


def _unpack(text: str, size: int) -> bytes:
    """ValueError when it is not exactly ``size`` bytes."""
    if not 0 <= size <= _MOST_TABLE:
        raise ValueError(f"a table of {size} bytes")
    unpacker = zlib.decompressobj()
    image = unpacker.decompress(base64.b64decode(text, validate=True), size + 1)
    if len(image) != size:
        raise ValueError(f"a table has not the {size} bytes that the manifest gives")
    return image


def _hash(plan: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plan, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
