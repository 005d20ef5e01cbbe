"""The tables of the slot in force against the artefact that they came from: which bytes are not those applied.

In: the slot's maps, the manifest kept on disk, what `node.json` says about interfaces. Out: the kernel's own bytes, and
a `TableDrift` for every table that differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bpfence.emit.artefact import Manifest, TableEntry
from bpfence.errors import BudgetError
from bpfence.loader.host_interfaces import HostInterface
from bpfence.loader.host_status import table_addresses
from bpfence.loader.interfaces import (
    Discovery,
    EndpointInterface,
    PlacedInterface,
    interface_table,
    own_addresses,
    place_interfaces,
    read_interface_table,
)
from bpfence.loader.maps import Map, read_array
from bpfence.loader.node import GENERATION_SIZE, Slot
from bpfence.loader.state import GenerationRecord
from bpfence.plan.hosts import local_table

FACTS_OF_THE_NODE = ("interfaces", "local_addresses")
"""Tables that the loader fills."""
_SHOWN, _MOST = 8, 1000
"""ranges of bytes named in a line, and kept at all"""
_FROZEN = "frozen:\t1"


@dataclass(frozen=True, slots=True)
class TableDrift:
    """A table that is not what was applied. ``ranges``: first and last byte of each run of bytes that differ, the first
    thousand of them; ``count``: bytes in all. ``problem``: what else is wrong; ``ranges`` may then be empty.
    ``wanted``: the table as it was applied, None when it is not known.
    """

    table: str
    ranges: tuple[tuple[int, int], ...] = ()
    count: int = 0
    problem: str = ""
    wanted: bytes | None = field(default=None, repr=False)

    @property
    def line(self) -> str:
        """For people."""
        if self.problem:
            return f"table {self.table} {self.problem}"
        places = [str(low) if low == high else f"{low}-{high}" for low, high in self.ranges[:_SHOWN]]
        more = f" and {len(self.ranges) - _SHOWN} more places" if len(self.ranges) > _SHOWN else ""
        return f"table {self.table} differs from the artefact in {self.count} byte(s): {', '.join(places)}{more}"


@dataclass(frozen=True, slots=True)
class SlotTables:
    """``images``: the kernel's bytes, the header without its generation; tables that are missing or have another size
    are not among them.
    """

    images: Mapping[str, bytes]
    drift: tuple[TableDrift, ...]


def read_tables(slot: Slot, manifest: Manifest, folder: Path, record: GenerationRecord | None) -> SlotTables:
    """Every table of the manifest. ``folder``: the artefact on disk, for the offsets."""
    images: dict[str, bytes] = {}
    drift: list[TableDrift] = []
    for entry in manifest.tables:
        table = slot.tables.get(entry.name)
        if table is None:
            drift.append(TableDrift(entry.name, problem="is not there"))
            continue
        drift += _properties(entry, table)
        image = read_array(table)
        if len(image) != entry.size:
            drift.append(TableDrift(entry.name, problem=f"has {len(image)} bytes, not the artefact's {entry.size}"))
            continue
        images[entry.name] = bytes(GENERATION_SIZE) + image[GENERATION_SIZE:] if entry.name == "header" else image
        drift += _content(entry, images[entry.name], manifest, folder, record)
    return SlotTables(images, tuple(drift))


def _properties(entry: TableEntry, table: Map) -> Iterable[TableDrift]:
    if _FROZEN in Path(f"/proc/self/fdinfo/{table.fd}").read_text():
        yield TableDrift(entry.name, problem="is frozen: nothing can be written into it any more")


def _content(
    entry: TableEntry, image: bytes, manifest: Manifest, folder: Path, record: GenerationRecord | None
) -> Iterable[TableDrift]:
    if entry.name in FACTS_OF_THE_NODE:
        applied = _interfaces if entry.name == "interfaces" else _local_addresses
        try:
            wanted: bytes | None = applied(image, manifest, record)
        except BudgetError:
            wanted = None
            yield TableDrift(entry.name, problem="has entries where no program finds them")
    elif hashlib.sha256(image).hexdigest() == entry.sha256:
        return
    else:
        wanted = _kept(folder / "tables" / f"{entry.name}.bin", entry)
        if wanted is None:
            yield TableDrift(entry.name, problem="differs from the artefact, whose own file is gone or damaged")
    if wanted is not None and wanted != image:
        ranges, count = differing(wanted, image)
        yield TableDrift(entry.name, ranges[:_MOST], count, wanted=wanted)


def _kept(path: Path, entry: TableEntry) -> bytes | None:
    """The table as it was applied; None when the file is not that any more."""
    try:
        with path.open("rb") as file:
            content = file.read(entry.size + 1)
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == entry.sha256 else None


def _interfaces(image: bytes, manifest: Manifest, record: GenerationRecord | None) -> bytes:
    """The table as the generation was applied, by what was written down then. When that is not known, with what the
    image has, each entry where programs look for it. Raises BudgetError.
    """
    slots = manifest.geometry["interfaces"]
    if record is None:
        return place_interfaces(read_interface_table(image), slots)
    return interface_table(applied_interfaces(manifest, record), slots)


def _local_addresses(image: bytes, manifest: Manifest, record: GenerationRecord | None) -> bytes:
    """The same of the node's own addresses."""
    own = table_addresses(image)
    if record is not None and record.addresses:
        own = own_addresses(manifest, Discovery((), (), addresses=record.addresses))
    return local_table(own, manifest.geometry["local_addresses"])


def applied_interfaces(manifest: Manifest, record: GenerationRecord) -> tuple[PlacedInterface, ...]:
    """The interfaces of a generation as they were found when it was applied."""
    endpoints = {entry.name: entry for entry in manifest.endpoints}
    hosts = {host.name: number for number, host in enumerate(manifest.hosts)}
    found: list[PlacedInterface] = []
    for item in record.interfaces:
        if item.endpoint in endpoints:
            found.append(EndpointInterface(endpoints[item.endpoint], item.index, item.name, "applied"))
        else:
            number = -1 if item.endpoint.startswith("node/") else hosts.get(item.endpoint, -1)
            found.append(HostInterface(item.index, item.name, item.endpoint, number))
    return tuple(found)


def differing(wanted: bytes, image: bytes) -> tuple[tuple[tuple[int, int], ...], int]:
    """(runs of bytes that differ, how many bytes). Both have the same size."""
    differs = np.frombuffer(wanted, np.uint8) != np.frombuffer(image, np.uint8)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], differs, [False])).astype(np.int8)))
    runs = tuple((int(low), int(high) - 1) for low, high in edges.reshape(-1, 2))
    return runs, int(np.count_nonzero(differs))
