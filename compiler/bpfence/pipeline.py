"""The whole compiler on one screen: loaded input to program, to classification, to artefact."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bpfence.classify.classification import Classification, classify, subjects_of
from bpfence.classify.services import ServiceCell, service_cells
from bpfence.diagnostics import Diagnostics
from bpfence.dialects import calico
from bpfence.dialects.calico import codes as calico_codes
from bpfence.dialects.cilium import codes as cilium_codes
from bpfence.emit.artefact import Artefact
from bpfence.emit.emit import EmitInput, emit_artefact
from bpfence.emit.hosts import asked_hosts
from bpfence.errors import UsageError
from bpfence.identity.inventory import Address, HostSettings
from bpfence.identity.numbers import number_identities
from bpfence.identity.world import Entity, World, build_world
from bpfence.ir.nodes import Program
from bpfence.loading import LoadedInput
from bpfence.lowering import lint_policies, lower_policies
from bpfence.options import Options
from bpfence.passes import run_measured, run_passes
from bpfence.passes.size import ProgramSize
from bpfence.plan.build import plan_tables
from bpfence.plan.hosts import HostFacts
from bpfence.source.collection import collection_paused
from bpfence.timing import Stopwatch

_REFERENCES = frozenset(
    (
        calico_codes.TIER_MISSING,
        calico_codes.PROFILE_MISSING,
        calico_codes.INVENTORY_MISSING,
        cilium_codes.GROUP_MISSING,
        cilium_codes.SERVICE_UNRESOLVED,
    )
)
"""what can't be told while other objects of the input can't be read"""


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

    def settings_of(self, node: str) -> HostSettings:
        """What a node does with its own traffic."""
        return self.node_settings.get(node, self.settings)


@collection_paused()
def check_program(loaded: LoadedInput, options: Options) -> None:
    """Everything `check` says beyond reading: lowering, references, lint. Adds to ``loaded.diagnostics``."""
    if loaded.diagnostics.has_errors:
        _check_the_rest(loaded, options)
        return
    program = lower_policies(loaded.policies, loaded.inventory, options, loaded.diagnostics)
    if not loaded.diagnostics.has_errors:
        lint_policies(loaded.policies, loaded.inventory, options, loaded.diagnostics)
        _lint_program(program, loaded, options)


def _check_the_rest(loaded: LoadedInput, options: Options) -> None:
    """Some objects can't be used: all that is wrong with the others, so that one run tells everything.

    References stay untold, since what they name may be among the objects that can't be used.
    """
    found = Diagnostics()
    lower_policies(loaded.policies, loaded.inventory, options, found)
    loaded.diagnostics.extend(item for item in found.items if item.is_error and item.code not in _REFERENCES)


def _lint_program(program: Program, loaded: LoadedInput, options: Options) -> None:
    """What only the program shows. NetworkPolicy and its relatives have their own lint for a part of that."""
    # Not at the top: compiling needs neither the lint nor the graph library behind it, which takes a while to import.
    from bpfence.analyse.lint import LintInput, lint_program

    host_endpoints = calico.host_endpoints(loaded.policies.calico, loaded.inventory, Diagnostics())
    world = build_world(loaded.inventory, host_endpoints)
    spoken_of = frozenset(item.span() for item in loaded.policies.kubernetes)
    lint_program(LintInput(program, world, loaded.inventory, spoken_of, options), loaded.diagnostics)


def analyse(loaded: LoadedInput, options: Options, watch: Stopwatch | None = None) -> Analysed:
    """Lower and check. InputError with every diagnostic when the input can't be used."""
    watch = watch or Stopwatch()
    loaded.diagnostics.stop_on_errors()
    with watch.stage("lower"):
        program = lower_policies(loaded.policies, loaded.inventory, options, loaded.diagnostics)
        loaded.diagnostics.stop_on_errors()
        pending = _lower_pending(loaded, options)
        host_endpoints = calico.host_endpoints(loaded.policies.calico, loaded.inventory, Diagnostics())
    with watch.stage("passes"):
        program, sizes = run_measured(program)
        pending = None if pending is None else run_passes(pending)
    with watch.stage("identity"):
        world = build_world(loaded.inventory, host_endpoints)
    settings = calico.host_settings(loaded.policies.calico)
    nodes = sorted({*world.nodes, *(item.node for item in host_endpoints)})
    own = {node: calico.host_settings(loaded.policies.calico, node) for node in nodes}
    return Analysed(program, world, loaded.diagnostics, service_cells(loaded.inventory), settings, own, pending, sizes)


def _lower_pending(loaded: LoadedInput, options: Options) -> Program | None:
    """The program with the staged policies in force; what is wrong with them has been said."""
    if not any(item.kind.startswith("Staged") for item in loaded.policies.calico):
        return None
    return lower_policies(loaded.policies, loaded.inventory, options, Diagnostics(), pending=True)


@dataclass(frozen=True, slots=True)
class Compiled:
    """An artefact with the classification it was made from. ``endpoints``: in the artefact's id order."""

    artefact: Artefact
    classification: Classification
    endpoints: tuple[Entity, ...]


def compile_artefact(
    loaded: LoadedInput,
    options: Options,
    previous_identities: Mapping[str, Any] | None = None,
    watch: Stopwatch | None = None,
) -> Artefact:
    """The artefact for one node."""
    return compile_with_classification(loaded, options, previous_identities, watch).artefact


@collection_paused()
def compile_with_classification(
    loaded: LoadedInput,
    options: Options,
    previous_identities: Mapping[str, Any] | None = None,
    watch: Stopwatch | None = None,
) -> Compiled:
    """The artefact for one node, and what it was made from."""
    watch = watch or Stopwatch()
    analysed = analyse(loaded, options, watch)
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
        inputs = {file.relative: file.sha256 for file in loaded.files}
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
