"""The artefacts of earlier generations, from disk."""

from __future__ import annotations

from pydantic import ValidationError

from bpfence.emit.artefact import Artefact, Manifest
from bpfence.emit.folder import MANIFEST, ArtefactError, read_artefact
from bpfence.errors import KernelError
from bpfence.loader.state import StateFolder


def kept_artefact(folder: StateFolder, number: int) -> Artefact:
    """The artefact of a generation. KernelError when it is gone or damaged."""
    place = folder.generation(number)
    if not place.is_dir():
        raise KernelError(f"the artefact of generation {number} is no longer on disk; apply it from its source")
    try:
        return read_artefact(place)
    except ArtefactError as error:
        raise KernelError(
            f"the artefact of generation {number} on disk is damaged, so nothing was changed: {error}; apply it from "
            "its source"
        ) from error


def kept_manifest(folder: StateFolder, number: int) -> Manifest | None:
    """The manifest of a generation; None when its artefact is gone or unreadable."""
    try:
        return Manifest.model_validate_json((folder.generation(number) / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None
