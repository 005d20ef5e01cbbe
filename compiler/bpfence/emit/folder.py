"""An artefact to a folder and back. Writing is atomic for the reader: the manifest, which names every file's hash,
comes last.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from bpfence.emit.artefact import Artefact, Manifest
from bpfence.emit.stable_json import stable_json
from bpfence.errors import BpfenceError, UsageError

MANIFEST = "manifest.json"


class ArtefactError(BpfenceError):
    """The folder is no artefact, or its contents are not what its manifest says."""


def write_artefact(artefact: Artefact, folder: str | Path) -> None:
    """Write the folder (created, 0700 when new). UsageError when it holds something that is no artefact."""
    root = Path(folder)
    if root.exists() and any(root.iterdir()) and not (root / MANIFEST).exists():
        raise UsageError(f"{root} is not empty and holds no artefact; choose another folder")
    for part in (root, root / "programs", root / "tables"):
        part.mkdir(mode=0o700, parents=True, exist_ok=True)
    (root / MANIFEST).unlink(missing_ok=True)
    _remove_old(root)
    for name, text in artefact.programs.items():
        _write(root / "programs" / name, text.encode())
    for name, image in artefact.tables.items():
        _write(root / "tables" / f"{name}.bin", image)
    _write(root / "ir.txt", artefact.ir_text.encode())
    _write(root / "identities.json", json_bytes(artefact.identities))
    _write(root / "report.txt", artefact.report.encode())
    _write(root / MANIFEST, manifest_bytes(artefact.manifest))


def read_artefact(folder: str | Path) -> Artefact:
    """Read and verify. ArtefactError when a file is missing or a hash differs."""
    root = Path(folder)
    try:
        manifest = Manifest.model_validate_json((root / MANIFEST).read_bytes())
        programs = {path.name: path.read_text() for path in sorted((root / "programs").glob("*.c"))}
        tables = {entry.name: (root / "tables" / f"{entry.name}.bin").read_bytes() for entry in manifest.tables}
        identities = json.loads((root / "identities.json").read_text())
        artefact = Artefact(
            manifest, programs, tables, (root / "ir.txt").read_text(), identities, (root / "report.txt").read_text()
        )
    except (OSError, ValidationError, ValueError) as error:
        raise ArtefactError(f"{root} is no readable artefact: {error}") from error
    check_hashes(artefact)
    return artefact


def check_hashes(artefact: Artefact) -> None:
    """Every table and program must be what the manifest says. ArtefactError naming the first that is not."""
    manifest = artefact.manifest
    if shape_hash(artefact.programs) != manifest.shape:
        raise ArtefactError("the programs are not those of the manifest (shape hash differs)")
    for entry in manifest.tables:
        image = artefact.tables[entry.name]
        if len(image) != entry.size or hashlib.sha256(image).hexdigest() != entry.sha256:
            raise ArtefactError(f"table {entry.name} is not that of the manifest (hash differs)")


def shape_hash(programs: Mapping[str, str]) -> str:
    """Hash of all program texts."""
    digest = hashlib.sha256()
    for name in sorted(programs):
        digest.update(f"{name}\0{len(programs[name].encode())}\0".encode())
        digest.update(programs[name].encode())
    return digest.hexdigest()


def manifest_bytes(manifest: Manifest) -> bytes:
    """The manifest as stable JSON."""
    return json_bytes(manifest.model_dump(mode="json"))


def json_bytes(value: object) -> bytes:
    """Stable JSON: the same value gives the same bytes."""
    return stable_json(value).encode() + b"\n"


def _remove_old(root: Path) -> None:
    """Files of an earlier artefact in the same folder."""
    for path in (*(root / "programs").glob("*.c"), *(root / "tables").glob("*.bin")):
        path.unlink()


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
