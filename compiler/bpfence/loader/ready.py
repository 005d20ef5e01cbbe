"""What a transaction will need, made before it asks the kernel for anything: the probes for the interfaces that the
last generation found, and the artefact's files beside those of the generations.

Between the first question to the kernel and the commit there is then little left to compute.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bpfence.emit.artefact import Artefact, Manifest
from bpfence.emit.folder import write_artefact
from bpfence.identity.inventory import Address
from bpfence.loader.host_probes import make_host_probes
from bpfence.loader.interfaces import Discovery, EndpointInterface, own_addresses
from bpfence.loader.kept import kept_manifest
from bpfence.loader.probes import FEW_PROBES, MOST_PROBES, Probe, make_probes
from bpfence.loader.state import NodeState, StateFolder


@dataclass(frozen=True, slots=True)
class ReadyProbes:
    """Probes for programs that are in the kernel already, and interfaces that are likely to be found.

    ``places``: endpoint and interface of each; ``own``: the node's addresses that they were made for.
    """

    artefact: Artefact
    places: frozenset[tuple[str, int]]
    own: frozenset[Address]
    probes: tuple[Probe, ...]

    def for_node(self, discovery: Discovery, *, proved: bool) -> tuple[Probe, ...]:
        """The probes for what was really found: those that are ready when it is just that. ``proved``: the programs
        are those that another proof has seen.
        """
        own = own_addresses(self.artefact.manifest, discovery)
        workloads = self.probes
        if not proved or _places(discovery.found) != self.places or own != self.own:
            workloads = make_probes(self.artefact, discovery.found, own, FEW_PROBES if proved else MOST_PROBES)
        return (*workloads, *make_host_probes(self.artefact, discovery)) if discovery.hosts else workloads


def ready_probes(artefact: Artefact, state: NodeState) -> ReadyProbes:
    """Probes for the interfaces that the last generation had."""
    expected = tuple(_expected(artefact.manifest, state))
    own = own_addresses(artefact.manifest, Discovery((), ()))
    probes = make_probes(artefact, expected, own, FEW_PROBES) if expected else ()
    return ReadyProbes(artefact, _places(expected), own, probes)


def _expected(manifest: Manifest, state: NodeState) -> Iterable[EndpointInterface]:
    last = state.generations[-1].interfaces if state.generations else ()
    known = {item.endpoint: item for item in last}
    for endpoint in manifest.endpoints:
        item = known.get(endpoint.name)
        if item is not None:
            yield EndpointInterface(endpoint, item.index, item.name, "")


def _places(found: Iterable[EndpointInterface]) -> frozenset[tuple[str, int]]:
    return frozenset((item.endpoint.name, item.index) for item in found)


@dataclass(frozen=True, slots=True)
class Ready:
    """``written``: the folder that has the artefact's files; None = they are not written yet. ``last``: the latest
    generation on record, ``manifest`` its own.
    """

    artefact: Artefact
    probes: ReadyProbes
    written: Path | None
    last: int = 0
    manifest: Manifest | None = None

    def manifest_of(self, folder: StateFolder, generation: int) -> Manifest | None:
        """The manifest of an earlier generation; None when its artefact is gone or unreadable."""
        return self.manifest if self.last == generation else kept_manifest(folder, generation)

    def place(self, folder: StateFolder, generation: int) -> None:
        """Give the artefact's files to a generation."""
        if self.written is None:
            write_artefact(self.artefact, folder.generation(generation))
            return
        folder.forget(generation)
        self.written.rename(folder.generation(generation))


def nothing_ready(artefact: Artefact) -> Ready:
    """For who changes too little to prepare anything."""
    return Ready(artefact, ReadyProbes(artefact, frozenset(), frozenset(), ()), None)


def make_ready(artefact: Artefact, folder: StateFolder, undo: ExitStack, *, write: bool) -> Ready:
    """Everything that can be made before the first question to the kernel. ``write``: the artefact's files as well;
    ``undo`` removes them, and what a crash leaves of them goes with the next that are written.
    """
    written = None
    if write:
        written = folder.fresh
        shutil.rmtree(written, ignore_errors=True)
        undo.callback(shutil.rmtree, written, ignore_errors=True)
        write_artefact(artefact, written)
    state = folder.read()
    last = state.generations[-1].number if state.generations else 0
    return Ready(artefact, ready_probes(artefact, state), written, last, kept_manifest(folder, last) if last else None)
