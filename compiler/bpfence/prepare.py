"""Paths in; the checked program with its world out, by way of a program that was kept where there is one.

The result is the same as that of `load_input` and `analyse`, and so are messages and failures; only the way is shorter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bpfence.assembly import Analysed
from bpfence.classify.services import service_cells
from bpfence.collection import collection_paused
from bpfence.diagnostics import Diagnostics
from bpfence.dialects.kinds import INVENTORY
from bpfence.errors import InputError
from bpfence.identity.read_inventory import INVENTORY_KINDS, read_inventory
from bpfence.identity.world import build_world
from bpfence.ir.text import program_text
from bpfence.kept_programs import (
    KeptProgram,
    inventory_digest,
    program_key,
    read_program,
    watch_pods,
    write_program,
)
from bpfence.options import Options
from bpfence.source.documents import Document
from bpfence.source.files import STDIN
from bpfence.source.limits import Limits
from bpfence.source.read import InputFile, RawFile, Sources, parse_file, read_files
from bpfence.timing import Stopwatch

if TYPE_CHECKING:
    from bpfence.loading import LoadedInput

_READ_ANEW = frozenset(("FelixConfiguration", "HostEndpoint", "WorkloadEndpoint"))


@dataclass(frozen=True, slots=True)
class Prepared:
    """``keep``: to be called when the outcome has proved its worth; keeps the program for the next time."""

    analysed: Analysed
    files: tuple[InputFile, ...]
    keep: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Read:
    """All files, the objects of those that are read whatever was kept, and what was said about them."""

    raws: tuple[RawFile, ...]
    documents: dict[int, tuple[Document, ...]]
    diagnostics: Diagnostics


@collection_paused()
def prepare(paths: Sequence[str], options: Options, folder: Path, watch: Stopwatch) -> Prepared:
    """Read and check the paths. ``folder``: where programs are kept. InputError with every diagnostic when the input
    can't be used.
    """
    with watch.stage("parse"):
        limits, said = Limits(), Diagnostics()
        raws = tuple(read_files(paths, said, limits))
        documents = {
            number: tuple(parse_file(raw, said, limits)) for number, raw in enumerate(raws) if _may_be_inventory(raw)
        }
        inventories = {number for number, items in documents.items() if all(map(_is_inventory, items))}
        key = program_key((raw for number, raw in enumerate(raws) if number not in inventories), options)
        read = _Read(raws, documents, said)
    kept = None
    if STDIN not in paths and not said.has_errors:
        with watch.stage("kept"):
            kept = read_program(folder, key)
    if kept is not None and len(inventories) == len(documents):
        found = _from_kept(read, kept, watch)
        if found is not None:
            return found
    return _anew(read, inventories, paths, options, (folder, key), watch)


def _may_be_inventory(raw: RawFile) -> bool:
    """Whether the file is read before anything else is known: as YAML, inventory is read so slowly anyhow that the
    policies beside it are no matter."""
    return raw.is_json


def _is_inventory(document: Document) -> bool:
    return (document.api_version, document.kind) in INVENTORY


def _from_kept(read: _Read, kept: KeptProgram, watch: Stopwatch) -> Prepared | None:
    """None when the inventory is another, or can't be used: then everything is to be said in one go."""
    said = Diagnostics()
    with watch.stage("parse"):
        documents = [item for number in sorted(read.documents) for item in read.documents[number]]
        inventory = read_inventory(documents, said, kept.mentioned)
        inventory = replace(inventory, declared_kinds=inventory.declared_kinds | kept.declared)
    if said.has_errors:
        return None
    with watch.stage("kept"):
        if not kept.fits(inventory):
            return None
    with watch.stage("identity"):
        world = build_world(inventory)
    everything = Diagnostics([*read.diagnostics.items, *said.items, *kept.diagnostics])
    analysed = Analysed(
        kept.program, world, everything, service_cells(inventory), sizes=kept.sizes, program_text=kept.text
    )
    return Prepared(analysed, tuple(raw.info for raw in read.raws), lambda: None)


def _anew(
    read: _Read,
    inventories: set[int],
    paths: Sequence[str],
    options: Options,
    place: tuple[Path, str],
    watch: Stopwatch,
) -> Prepared:
    # Not at the top: with a kept program nobody needs the readers of the languages, which take a while to import.
    from bpfence.loading import load_sources
    from bpfence.pipeline import analyse

    folder, key = place
    of_policies, of_inventory = Diagnostics(), Diagnostics(list(read.diagnostics.items))
    with watch.stage("parse"):
        sources = _the_rest(read, of_policies)
        loaded = load_sources(sources, paths, options, of_policies, of_inventory)
    if of_inventory.has_errors:
        raise InputError(Diagnostics([*of_inventory.items, *of_policies.items]).sorted())
    watched, reads = watch_pods(loaded.inventory)
    try:
        analysed = analyse(loaded, options, watch, watched)
    except InputError as error:
        raise InputError(Diagnostics([*of_inventory.items, *error.diagnostics]).sorted()) from error
    everything = Diagnostics([*of_inventory.items, *of_policies.items])
    prepared = replace(analysed, diagnostics=everything)

    def keep() -> None:
        if STDIN not in paths and _can_be_kept(read, inventories, loaded, len(sources.documents)):
            write_program(folder, key, _kept(loaded, analysed, of_policies, pods_matter=bool(reads.fields)))

    return Prepared(prepared, sources.files, keep)


def _the_rest(read: _Read, diagnostics: Diagnostics) -> Sources:
    """All objects in the order of the files."""
    documents: list[Document] = []
    for number, raw in enumerate(read.raws):
        known = read.documents.get(number)
        documents.extend(parse_file(raw, diagnostics, Limits()) if known is None else known)
    return Sources(tuple(documents), tuple(raw.info for raw in read.raws))


def _can_be_kept(read: _Read, inventories: set[int], loaded: LoadedInput, objects: int) -> bool:
    """Whether the program is all that the policies come to: hosts, staged policies and workload endpoints are read anew
    each time, and so is everything where inventory stands in the policies' files. ``objects``: of the whole input.
    """
    apart = sum(map(len, read.documents.values())) + len(loaded.documents) == objects
    anew = any(item.kind in _READ_ANEW or item.kind.startswith("Staged") for item in loaded.policies.calico)
    return apart and not anew and len(inventories) == len(read.documents)


def _kept(loaded: LoadedInput, analysed: Analysed, said: Diagnostics, *, pods_matter: bool) -> KeptProgram:
    from bpfence.loading import mentioned_namespaces

    kinds = {item.kind for item in loaded.documents if (item.api_version, item.kind) in INVENTORY_KINDS}
    return KeptProgram(
        program=analysed.program,
        sizes=analysed.sizes,
        text=program_text(analysed.program),
        diagnostics=tuple(said.items),
        mentioned=mentioned_namespaces(loaded.policies),
        declared=frozenset(kinds),
        digest=inventory_digest(loaded.inventory, pods_matter),
        pods_matter=pods_matter,
    )
