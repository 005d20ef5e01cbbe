"""The artefact: what `compile` writes and `apply` loads. In memory here; `write_artefact` and `read_artefact` move it
to and from a folder.

manifest.json, ir.txt, identities.json, report.txt, programs/*.c, tables/*.bin. Byte-identical for identical input.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from typing import Any

from pydantic import BaseModel, ConfigDict

from bpfence.identity.inventory import Address


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TableEntry(_Model):
    """One table image: an array map with one value of ``size`` bytes. ``used``: elements in use, of ``count``."""

    name: str
    type: str = "array"
    element: str
    count: int
    used: int
    size: int
    sha256: str
    layout: str


class EndpointEntry(_Model):
    """A local endpoint. ``id`` indexes the endpoints table. ``interface``: from the pod annotation, else empty (found
    at apply).
    """

    id: int
    name: str
    identity: int
    addresses: tuple[str, ...]
    interface: str = ""


class OriginEntry(_Model):
    path: str
    line: int
    column: int


class LayerDecision(_Model):
    """Why one layer decides as it does. ``reason``: rule, default-deny, exempt, unmatched, no-backend, profile,
    undecided.
    """

    layer: str
    verdict: str
    reason: str
    tier: str = ""
    policy: str = ""
    rule: str = ""
    origin: OriginEntry | None = None


class RowEntry(_Model):
    """One policy row. ``offset``: what stands for it in the tables, its first cell or, with the feature ``two_level``,
    its place in ``policy_rows``. ``decisions[n]`` belongs to decision number n + 1; 0 is no number.
    """

    offset: int
    direction: str
    endpoints: tuple[str, ...]
    decisions: tuple[tuple[LayerDecision, ...], ...]
    point: str = "endpoint"


class FailsafeEntry(_Model):
    """A port that host policy never closes. ``network``: the remote addresses it holds for; empty = all."""

    protocol: int
    port: int
    network: str = ""


class HostSettingsEntry(_Model):
    """What the node does with its own traffic. ``workload_to_host``: Accept, Drop or Return."""

    failsafe_ingress: tuple[FailsafeEntry, ...]
    failsafe_egress: tuple[FailsafeEntry, ...]
    workload_to_host: str


class HostRowEntry(_Model):
    """Where a host's cells are for one direction and point. ``offset`` None: nothing restricts it there.

    ``own``: ``FIRST-LAST``, the own addresses it holds for; empty = all that no other entry of the direction and
    point names. Ingress: the packet's destination is the own address, also of packets that the host passes on.
    """

    direction: str
    point: str
    own: str
    offset: int | None


class HostEntry(_Model):
    """A host endpoint (``hep/NAME``), or the node itself where policies select nodes (``node/NAME``).

    ``interface``: as in the object, empty when it is found by its addresses.
    """

    name: str
    interface: str
    addresses: tuple[str, ...]
    settings: HostSettingsEntry
    rows: tuple[HostRowEntry, ...]


class GuardedEntry(_Model):
    """Where something answers that the node can't do without: ``name`` is the service's."""

    name: str
    protocol: int
    address: str
    port: int


class Manifest(_Model):
    """manifest.json."""

    format_version: str = "1.0"
    tool_version: str
    node: str
    options: dict[str, Any]
    inputs: dict[str, str]
    """relative path -> sha256 of the file"""
    shape: str
    """hash of the programs: equal shapes exchange tables without loading a program"""
    content: str
    """hash of everything but the generation"""
    features: dict[str, Any]
    geometry: dict[str, int]
    peer_classes: int
    l4_classes: int
    tables: tuple[TableEntry, ...]
    endpoints: tuple[EndpointEntry, ...]
    rows: tuple[RowEntry, ...]
    policies: tuple[str, ...]
    hosts: tuple[HostEntry, ...] = ()
    node_addresses: tuple[str, ...] = ()
    """the node's own addresses, when there are hosts"""
    guarded: tuple[GuardedEntry, ...] = ()
    """the API server's places, when there are hosts and the inventory has its service"""

    @cached_property
    def workloads(self) -> dict[Address, str]:
        """Address -> endpoint."""
        return {ip_address(text): entry.name for entry in self.endpoints for text in entry.addresses}


@dataclass(frozen=True, slots=True)
class Artefact:
    """``programs``: file name -> C text. ``tables``: table name -> image (exactly ``size`` bytes, little-endian)."""

    manifest: Manifest
    programs: dict[str, str]
    tables: dict[str, bytes]
    ir_text: str
    identities: dict[str, Any]
    report: str
