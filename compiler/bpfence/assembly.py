"""The second half of the compiler: a checked program with its world in, one node's artefact out.

Apart from the first half (`pipeline`), which reads policies and lowers them, because a program that was kept needs no
reader of any language.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bpfence.classify.classification import Classification, classify, subjects_of
from bpfence.classify.services import ServiceCell
from bpfence.collection import collection_paused
from bpfence.diagnostics import Diagnostics
from bpfence.emit.artefact import Artefact
from bpfence.emit.emit import EmitInput, emit_artefact
from bpfence.emit.hosts import asked_hosts
from bpfence.errors import UsageError
from bpfence.identity.inventory import Address, HostSettings
from bpfence.identity.numbers import number_identities
from bpfence.identity.world import Entity, World
from bpfence.ir.nodes import Program
from bpfence.options import Options
from bpfence.passes.size import ProgramSize
from bpfence.plan.build import plan_tables
from bpfence.plan.hosts import HostFacts
from bpfence.timing import Stopwatch

if TYPE_CHECKING:
    from bpfence.source.read import InputFile


@dataclass(frozen=True, slots=True)
class Analysed:
    """A program with the world it is about. ``diagnostics``: everything said so far, no error among it."""

    program: Program
    world: World
    diagnostics: Diagnostics
    services: tuple[ServiceCell, ...] = ()
    settings: HostSettings = field(default_factory=HostSettings)
    """what nodes do with their own traffic, unless ``node_settings`` says otherwise"""
    node_settings: Mapping[str, HostSettings] = field(default_factory=dict)
    pending: Program | None = None
    """the program with the staged policies in force; None = there are none"""
    sizes: Mapping[str, ProgramSize] = field(default_factory=dict)
    """of the program, as written and after each pass"""
    program_text: str = ""
    """the program's canonical text, where it is known already"""

    def settings_of(self, node: str) -> HostSettings:
        """What a node does with its own traffic."""
        return self.node_settings.get(node, self.settings)


@dataclass(frozen=True, slots=True)
class Compiled:
    """An artefact with the classification it was made from. ``endpoints``: in the artefact's id order."""

    artefact: Artefact
    classification: Classification
    endpoints: tuple[Entity, ...]


@collection_paused()
def compile_analysed(
    analysed: Analysed,
    files: Iterable[InputFile],
    options: Options,
    previous_identities: Mapping[str, Any] | None = None,
    watch: Stopwatch | None = None,
) -> Compiled:
    """The artefact for one node, and what it was made from. ``files``: the input's, for the manifest."""
    watch = watch or Stopwatch()
    node = choose_node(analysed.world, options)
    endpoints = local_endpoints(analysed.world, node)
    with watch.stage("identity"):
        identities = number_identities(analysed.world, previous_identities)
    settings = analysed.settings_of(node)
    with watch.stage("classify"):
        subjects = tuple(subjects_of(endpoints))
        hosts = local_hosts(analysed.world, node)
        classification = classify(
            analysed.program,
            analysed.world,
            subjects,
            options.optimise,
            analysed.services,
            hosts,
            settings,
            notrack=options.automatic_notrack,
        )
    asked = asked_hosts(hosts, settings, classification)
    with watch.stage("plan"):
        own = _own_addresses(analysed.world, node, asked)
        planned = plan_tables(classification, endpoints, HostFacts(asked, settings, own, analysed.services))
    with watch.stage("emit"):
        inputs = {file.relative: file.sha256 for file in files}
        source = EmitInput(
            analysed.program,
            classification,
            planned,
            identities,
            node,
            options,
            inputs,
            asked,
            settings,
            analysed.sizes,
            analysed.program_text,
            services=analysed.services,
        )
        return Compiled(emit_artefact(source), classification, endpoints)


def local_endpoints(world: World, node: str) -> tuple[Entity, ...]:
    """Pods of the node that have an address, by name."""
    return tuple(pod for pod in world.pods if pod.node == node and pod.addresses)


def local_hosts(world: World, node: str) -> tuple[Entity, ...]:
    """The node's host endpoints, and the node itself, by name."""
    return tuple(item for item in world.entities if item.kind in ("hostendpoint", "node") and item.node == node)


def _own_addresses(world: World, node: str, hosts: Sequence[Entity]) -> tuple[Address, ...]:
    """Addresses at which packets end in the node itself; empty when nobody asks."""
    entity = world.by_name.get(f"node/{node}")
    known = {*(() if entity is None else entity.addresses), *(a for host in hosts for a in host.addresses)}
    pods = {address for pod in world.pods for address in pod.addresses}
    return tuple(sorted(known - pods, key=lambda item: (item.version, item.packed))) if hosts else ()


def choose_node(world: World, options: Options) -> str:
    """The node to compile for. UsageError when it can't be told."""
    if options.node is not None:
        _require_known(world, options.node)
        return options.node
    if len(world.nodes) == 1:
        return world.nodes[0]
    host = socket.gethostname()
    if host in world.nodes:
        return host
    if not world.nodes:
        return _only_pod_node(world, host)
    names = ", ".join(world.nodes[:5]) + (", ..." if len(world.nodes) > 5 else "")
    raise UsageError(
        f"the inventory has {len(world.nodes)} nodes ({names}) and none is this host {host}: choose one with --node"
    )


def _only_pod_node(world: World, host: str) -> str:
    used = sorted({item.node for item in world.entities if item.node})
    return used[0] if len(used) == 1 else host


def _require_known(world: World, node: str) -> None:
    if world.nodes and node not in world.nodes and all(item.node != node for item in world.entities):
        raise UsageError(f"the inventory has no node {node}; it has {', '.join(world.nodes[:10])}")
