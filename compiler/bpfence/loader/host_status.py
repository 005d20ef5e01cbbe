"""The hosts' part of the status: host endpoints with the interfaces they govern, and what the tables no longer know.

In: the kernel's tables and hooks, the artefact's hosts, and what is found on the node now. Out: `HostStatus`es, and a
line for each difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import numpy as np

from bpfence.emit.artefact import HostEntry, Manifest
from bpfence.identity.inventory import Address
from bpfence.loader.attach import Attachment, Hooks
from bpfence.loader.bpffs import HOST_DIRECTIONS, XDP_HOOK
from bpfence.loader.counts import Counts, endpoint_counts
from bpfence.loader.interfaces import Discovery, own_addresses
from bpfence.loader.maps import read_array
from bpfence.loader.node import Slot
from bpfence.loader.state import GenerationRecord
from bpfence.plan.layout import HOST_INTERFACE, LOCAL_ADDRESS


@dataclass(frozen=True, slots=True)
class HostInterfaceStatus:
    """An interface in force. ``name`` is empty when it is gone; ``hooks``: directions with a dispatcher; ``xdp``: the
    mode of ours, empty for none.
    """

    name: str
    index: int
    hooks: tuple[str, ...]
    xdp: str


@dataclass(frozen=True, slots=True)
class HostStatus:
    """A host endpoint, or the node itself with the interfaces that no host endpoint governs. ``counts``: its packets by
    reason since the generation is in force.
    """

    name: str
    addresses: tuple[str, ...]
    interfaces: tuple[HostInterfaceStatus, ...]
    counts: Counts


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What is compared. ``interfaces``: index -> what the interface table says."""

    manifest: Manifest
    slot: Slot
    interfaces: Mapping[int, int]
    hooks: Hooks
    attached: frozenset[Attachment]


def host_statuses(facts: HostFacts) -> tuple[HostStatus, ...]:
    """Every host of the artefact, in its order."""
    return tuple(_host(facts, number, host) for number, host in enumerate(facts.manifest.hosts))


def _host(facts: HostFacts, number: int, host: HostEntry) -> HostStatus:
    is_node = host.name.startswith("node/")
    value = HOST_INTERFACE | (0 if is_node else number + 1)
    mine = sorted(index for index, found in facts.interfaces.items() if found == value)
    # what no host endpoint governs is counted with packets of nobody
    counts = {} if is_node else endpoint_counts(facts.slot.counters, facts.manifest.geometry["endpoints"] + number)
    return HostStatus(host.name, host.addresses, tuple(_interface(facts, index) for index in mine), counts)


def _interface(facts: HostFacts, index: int) -> HostInterfaceStatus:
    hooks = tuple(direction for direction in HOST_DIRECTIONS if Attachment(index, direction) in facts.attached)
    ours = Attachment(index, XDP_HOOK) in facts.attached
    modes = [item.mode for item in facts.hooks.xdp if item.index == index and ours]
    return HostInterfaceStatus(facts.hooks.names.get(index, ""), index, hooks, "".join(modes[:1]))


def hook_drift(hosts: tuple[HostStatus, ...], record: GenerationRecord | None) -> Iterator[str]:
    """Dispatchers that are no longer where they were attached. ``record``: of the generation in force."""
    had_xdp = {item.index for item in record.interfaces if item.xdp} if record else set()
    for host in hosts:
        for item in host.interfaces:
            where = item.name or f"interface {item.index} (gone)"
            for direction in HOST_DIRECTIONS:
                if direction not in item.hooks:
                    yield f"{host.name}: no dispatcher at the {direction} hook of {where}"
            if item.index in had_xdp and not item.xdp:
                yield f"{host.name}: no XDP dispatcher on {where}; denied packets are dropped at tc, which costs more"


def place_drift(facts: HostFacts, discovery: Discovery) -> Iterator[str]:
    """Interfaces and own addresses of the node that the tables in force do not know, or know otherwise."""
    for item in discovery.hosts:
        known = facts.interfaces.get(item.index)
        if known is None:
            yield f"{item.host}: its interface {item.name} is not in the tables in force; apply again"
        elif known != item.value:
            yield f"{item.host}: {item.name} is another's in the tables in force; apply again"
    if "local_addresses" not in facts.slot.tables:
        return
    for address in sorted(own_addresses(facts.manifest, discovery) - known_addresses(facts), key=str):
        yield (
            f"{address} is an address of this node that the tables in force do not know: what is sent to it counts as "
            "passed on; apply again"
        )


def known_addresses(facts: HostFacts) -> frozenset[Address]:
    """What the tables in force take for the node's own addresses."""
    return table_addresses(read_array(facts.slot.tables["local_addresses"]))


def table_addresses(image: bytes) -> frozenset[Address]:
    """What an image of ``local_addresses`` has."""
    table = np.frombuffer(image, dtype=LOCAL_ADDRESS.dtype, count=len(image) // LOCAL_ADDRESS.size)
    return frozenset(_address(entry) for entry in table if entry["family"])


def _address(entry: np.void) -> Address:
    raw = entry["address"].tobytes()
    return IPv4Address(raw[:4]) if entry["family"] == 4 else IPv6Address(raw)
