"""The flows that are remembered and whose time is not over. In: the node's open maps. Out: columns, an entry per flow.

How the kernel keeps them (one table or several, which key) ends here: whoever asks about connections reads these
columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpfence.loader.connections import jiffies_now, timeouts
from bpfence.loader.kernel import kernel_hz
from bpfence.loader.maps import Map
from bpfence.plan.layout import CONNECTION, CONNECTION_DENIED, CONNECTION_INGRESS, CONNECTION_KEY


@dataclass(frozen=True, slots=True)
class Flow:
    """One flow as its endpoint sees it; fields as in `LiveFlows`."""

    local: IPv4Address | IPv6Address
    remote: IPv4Address | IPv6Address
    local_port: int
    remote_port: int
    ifindex: int
    protocol: int
    role: int
    generation: int
    flags: int
    state: int
    last_seen: int


@dataclass(frozen=True, slots=True)
class LiveFlows:
    """Columns of equal length, a flow per element, in no particular order."""

    family: NDArray[np.uint8]
    """4 or 6"""
    local: NDArray[np.uint8]
    """n x 16: the endpoint's address in network order; IPv4 in the first four bytes, the rest zero"""
    remote: NDArray[np.uint8]
    """n x 16: the other party's address"""
    local_port: NDArray[np.uint16]
    """numbers, not network order; ICMP echo: the identifier on both sides; 0 without ports"""
    remote_port: NDArray[np.uint16]
    ifindex: NDArray[np.uint32]
    """the endpoint's interface, or the node's own one"""
    protocol: NDArray[np.uint8]
    role: NDArray[np.uint8]
    """ICMP echo: 1 = the remote party asks; else 0"""
    generation: NDArray[np.uint64]
    """that decided the flow last"""
    flags: NDArray[np.uint8]
    """``CONNECTION_*`` bits"""
    state: NDArray[np.uint8]
    """``TCP_*`` bits"""
    last_seen: NDArray[np.uint64]
    """jiffies"""

    def __len__(self) -> int:
        return len(self.family)

    def __getitem__(self, number: int) -> Flow:
        six = self.family[number] == 6
        local, remote = self.local[number].tobytes(), self.remote[number].tobytes()
        return Flow(
            local=IPv6Address(local) if six else IPv4Address(local[:4]),
            remote=IPv6Address(remote) if six else IPv4Address(remote[:4]),
            local_port=int(self.local_port[number]),
            remote_port=int(self.remote_port[number]),
            ifindex=int(self.ifindex[number]),
            protocol=int(self.protocol[number]),
            role=int(self.role[number]),
            generation=int(self.generation[number]),
            flags=int(self.flags[number]),
            state=int(self.state[number]),
            last_seen=int(self.last_seen[number]),
        )

    def __iter__(self) -> Iterator[Flow]:
        return (self[number] for number in range(len(self)))

    @property
    def opened_ingress(self) -> NDArray[np.bool_]:
        """Where the remote party opened the flow."""
        return (self.flags & CONNECTION_INGRESS) > 0

    @property
    def denied(self) -> NDArray[np.bool_]:
        """TCP connections that a generation has cut already."""
        return (self.flags & CONNECTION_DENIED) > 0

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> LiveFlows:
        """Those that ``chosen`` (a mask or indices) names."""
        return LiveFlows(*(getattr(self, name)[chosen] for name in self.__slots__))


def live_flows(maps: Mapping[str, Map]) -> LiveFlows:
    """Read what is remembered. ``maps``: the node's shared maps by name (`Node.maps`).

    Flows that come or go meanwhile may or may not be seen. KernelError when a map can't be read.
    """
    hz = kernel_hz()
    now = jiffies_now(hz)
    parts = [_columns(keys, entries) for keys, entries in _entries(maps["connections"], now, hz)]
    return LiveFlows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _entries(connections: Map, now: int, hz: int) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    for raw_keys, raw_values in connections.batches():
        keys = np.frombuffer(raw_keys, CONNECTION_KEY.dtype)
        entries = np.frombuffer(raw_values, CONNECTION.dtype)
        age = now - entries["last_seen"].astype(np.int64)
        live = age <= timeouts(keys["protocol"], entries) * hz
        yield keys[live], entries[live]


def _columns(keys: NDArray[Any], entries: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """In the order of the fields of `LiveFlows`."""
    return (
        keys["family"],
        _address(keys["local"]),
        _address(keys["remote"]),
        keys["local_port"].byteswap(),
        keys["remote_port"].byteswap(),
        keys["ifindex"],
        keys["protocol"],
        keys["role"].astype(np.uint8),
        entries["generation"],
        entries["flags"],
        entries["state"],
        entries["last_seen"],
    )


def _address(words: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(words).view(np.uint8).reshape(len(words), 16)
