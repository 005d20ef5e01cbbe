"""Everything together: the artefact of one compile.

In: the program, the world, the classification, the planned tables. Out: `Artefact`. The same input gives the same
bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from bpfence import __version__
from bpfence.classify.classification import Classification
from bpfence.classify.services import ServiceCell
from bpfence.emit.artefact import Artefact, EndpointEntry, Manifest, TableEntry
from bpfence.emit.folder import json_bytes, shape_hash
from bpfence.emit.hosts import guarded_entries, host_entries
from bpfence.emit.program import emit_dispatcher_program, emit_slot_programs
from bpfence.emit.provenance import row_entries
from bpfence.emit.report import emit_report
from bpfence.emit.tables import emit_tables, used_elements
from bpfence.identity.inventory import HostSettings
from bpfence.identity.numbers import Identities
from bpfence.identity.world import Entity
from bpfence.ir.nodes import Program
from bpfence.ir.text import program_text
from bpfence.options import Options
from bpfence.passes.size import ProgramSize
from bpfence.plan.build import PlannedTables


@dataclass(frozen=True, slots=True)
class EmitInput:
    """What an artefact is made of. ``inputs``: relative path -> sha256 of each input file."""

    program: Program
    classification: Classification
    planned: PlannedTables
    identities: Identities
    node: str
    options: Options
    inputs: Mapping[str, str]
    hosts: tuple[Entity, ...] = ()
    """the node's host endpoints and the node itself"""
    settings: HostSettings = field(default_factory=HostSettings)
    sizes: Mapping[str, ProgramSize] = field(default_factory=dict)
    """of the program, as written and after each pass"""
    program_text: str = ""
    """the program's canonical text, where it is known already"""
    services: tuple[ServiceCell, ...] = ()


def emit_artefact(source: EmitInput) -> Artefact:
    """Programs, images, manifest and texts."""
    planned, classification = source.planned, source.classification
    programs = {"dispatcher.c": emit_dispatcher_program(), **emit_slot_programs(planned.plan)}
    tables = emit_tables(planned, classification)
    shape = shape_hash(programs)
    entries = tuple(
        TableEntry(
            name=spec.name,
            element=spec.element,
            count=spec.count,
            used=used_elements(planned, spec),
            size=spec.size,
            sha256=hashlib.sha256(tables[spec.name]).hexdigest(),
            layout=spec.comment,
        )
        for spec in planned.plan.tables()
    )
    hosts = host_entries(source.hosts, source.settings, planned, classification)
    manifest = Manifest(
        tool_version=__version__,
        node=source.node,
        options=source.options.model_dump(mode="json"),
        inputs=dict(sorted(source.inputs.items())),
        shape=shape,
        content="",
        features=asdict(planned.plan.features),
        geometry=asdict(planned.plan.geometry),
        peer_classes=planned.peers,
        l4_classes=planned.l4_classes,
        tables=entries,
        endpoints=_endpoints(planned, source.identities),
        rows=row_entries(planned, classification),
        policies=_policies(source.program),
        hosts=hosts,
        node_addresses=tuple(map(str, planned.hosts.own)),
        guarded=guarded_entries(source.services) if hosts else (),
    )
    manifest = manifest.model_copy(
        update={"content": hashlib.sha256(json_bytes(manifest.model_dump(mode="json"))).hexdigest()}
    )
    report = emit_report(planned, classification, source.node, source.sizes)
    text = source.program_text or program_text(source.program)
    return Artefact(manifest, programs, tables, text, source.identities.document(), report)


def _endpoints(planned: PlannedTables, identities: Identities) -> tuple[EndpointEntry, ...]:
    return tuple(
        EndpointEntry(
            id=number,
            name=entity.name,
            identity=identities.of.get(entity.name, 0),
            addresses=tuple(str(address) for address in entity.addresses),
            interface=entity.interface,
        )
        for number, entity in enumerate(planned.endpoints)
    )


def _policies(program: Program) -> tuple[str, ...]:
    names = {policy.name for layer in program.layers for tier in layer.tiers for policy in tier.policies}
    return tuple(sorted(names))
